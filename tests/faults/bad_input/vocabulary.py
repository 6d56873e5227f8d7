"""Tasks and DAGs that are right, for others to get wrong."""

from __future__ import annotations

from typing import Any

from dagcelery import AsPickle, dag, task


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def power(x: int, exponent: int = 2) -> int:
    return x**exponent


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def echo(x: Any) -> Any:
    return x


@dag
def map_reduce(n: int, exponent: int = 2) -> int:
    return total([power(x, exponent) for x in numbers(n)])


@dag
def squares_of(xs: list[int]) -> list[int]:
    return [power(x) for x in xs]


@dag(serializer=AsPickle())
def pickled(x: Any) -> Any:
    return echo(x)
