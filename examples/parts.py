"""Use parts of a task's result: keys, properties, items, and the values of a tuple.

Notice that a part may be taken at any depth, and that only the parts that are used are stored.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dagcelery import dag, task


class Split(NamedTuple):
    """The result of `split`."""

    training: list[int]
    testing: list[int]


@task
def split(rows: list[int], share: float) -> Split:
    """Cut a list in two."""
    at = int(len(rows) * share)
    return Split(rows[:at], rows[at:])


@task
def fit(rows: list[int]) -> dict[str, Any]:
    """Return nested data."""
    return {"model": {"mean": sum(rows) / len(rows)}, "versions": ["draft", "final"]}


@task
def score(mean: float, rows: list[int]) -> float:
    """Return the largest distance of a row from the mean."""
    return max(abs(row - mean) for row in rows)


@dag
def train(rows: list[int]) -> dict[str, Any]:
    """Unpack a tuple, take parts of a dict, and return parts under new names."""
    training, testing = split(rows, 0.75)
    fitted = fit(training)
    return {"error": score(fitted["model"]["mean"], testing), "version": fitted["versions"][1]}


if __name__ == "__main__":
    print(train.invoke(rows=[1, 2, 3, 4]))
