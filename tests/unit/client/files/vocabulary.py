"""DAGs that the tests of files run, also from the command line as ``unit.client.files.vocabulary:…``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dagcelery import (
    DAG,
    AsJSON,
    AsMessagePack,
    AsPickle,
    FromKey,
    FromNodeOutput,
    FromParam,
    FromReturnValue,
    Serialize,
    Task,
    dag,
    task,
)


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task(serializer=AsPickle())
def power(x: int, exponent: int = 2) -> int:
    return int(x**exponent)


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task(serializer=Serialize(root=AsJSON(indent=1), low=AsMessagePack()))
def bounds(xs: list[int]) -> dict[str, int]:
    return {"low": min(xs), "high": max(xs)}


@dag
def raised(x: int, exponent: int) -> int:
    return power(power(x, exponent), exponent)


@dag
def summed(xs: list[int], exponent: int) -> int:
    return total([raised(x, exponent) for x in xs])


@dag
def study(n: int, exponent: int = 2) -> dict[str, Any]:
    found = numbers(n)
    squares = [power(x, exponent) for x in found]
    ends = bounds(squares)
    return {"squares": squares, "sum": summed(found, exponent), "low": ends["low"], "high": ends["high"]}


@dag(serializer=AsPickle())
def pickled(n: int) -> int:
    return total(numbers(n))


@dag(static=("folds",))
def folded(n: int, folds: int) -> list[list[int]]:
    return [numbers(n) for _ in range(folds)]


@task
def greeting(name: str) -> str:
    return f"hello, {name}"


@dag
def greet(name: str) -> str:
    return greeting(name)


def made(n: int) -> Iterator[int]:
    yield from range(n)


def twice(x: int) -> int:
    return 2 * x


def sums(xs: list[int]) -> dict[str, int]:
    return {"sum": sum(xs), "count": len(xs)}


declared = DAG(
    {
        "made": Task(made, {"n": FromParam()}, {"items": FromReturnValue(is_partitioned=True)}),
        "twice": Task(
            twice, {"x": FromNodeOutput("made", "items")}, {"doubled": FromReturnValue()}, partition_by_input="x"
        ),
        "sums": Task(
            sums, {"xs": FromNodeOutput("twice", "doubled")}, {"sum": FromKey("sum"), "count": FromKey("count")}
        ),
    },
    inputs={"n": FromParam()},
    outputs={
        "items": FromNodeOutput("made", "items"),
        "doubled": FromNodeOutput("twice", "doubled"),
        "sum": FromNodeOutput("sums", "sum"),
    },
)


@task
def numbers_of(xs: list[int]) -> list[int]:
    return list(xs)
