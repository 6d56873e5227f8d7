"""Pass tables as Parquet and CSV: `pip install 'dagcelery[arrow]'`.

Notice that the annotations say how a table travels, and that reading it with another serializer than it was written
with is an error when the DAG is built. Lists of dicts come back as lists of dicts, and DataFrames of pandas as
DataFrames; data that would come back changed is refused.
"""

from __future__ import annotations

from typing import Annotated, Any

from dagcelery import AsCSV, AsParquet, dag, task

Sales = Annotated[list[dict[str, Any]], AsParquet()]
Totals = Annotated[list[dict[str, Any]], AsCSV(columns={"fruit": str, "pieces": int})]


@task
def read(days: int) -> Sales:
    """Return a table with a column of each type that Parquet has for it."""
    fruits = ["apple", "pear", "fig"]
    return [{"day": day, "fruit": fruits[day % 3], "pieces": day, "price": day / 4} for day in range(days)]


@task
def summed(sales: Sales) -> Totals:
    """Return a table as text; its columns are named with their types, since CSV has none."""
    found: dict[str, int] = {}
    for sale in sales:
        found[sale["fruit"]] = found.get(sale["fruit"], 0) + sale["pieces"]
    return [{"fruit": fruit, "pieces": pieces} for fruit, pieces in sorted(found.items())]


@task
def best(totals: Totals) -> str:
    """Use the numbers, which come as numbers."""
    return str(max(totals, key=lambda row: row["pieces"])["fruit"])


@dag
def season(days: int = 10) -> str:
    """Use Parquet for one value, CSV for the next, JSON for the result."""
    return best(summed(read(days)))


if __name__ == "__main__":
    print(season.invoke())
