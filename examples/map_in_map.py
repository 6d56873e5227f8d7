"""Nest maps, in both spellings: a nested DAG for each item, or one comprehension within another.

Notice that rows do not wait for each other: a row's total starts as soon as that row's own squares are done.
"""

from __future__ import annotations

from dagcelery import dag, task


@task
def numbers(n: int) -> list[int]:
    """Make a list."""
    return list(range(n))


@task
def square(x: int) -> int:
    """Work on one item of one row."""
    return x * x


@task
def total(xs: list[int]) -> int:
    """Add a list up."""
    return sum(xs)


@dag
def row(length: int) -> int:
    """Compute one row: a map and its reduction."""
    return total([square(x) for x in numbers(length)])


@dag
def triangle(n: int) -> int:
    """Add up rows of 0, 1, 2, ... items."""
    return total([row(length) for length in numbers(n)])


@dag
def row_totals(n: int) -> list[int]:
    """Compute the same rows without a nested DAG, and without adding them up."""
    return [total([square(x) for x in numbers(length)]) for length in numbers(n)]


if __name__ == "__main__":
    print(triangle.invoke(n=5))
    print(row_totals.invoke(n=5))
