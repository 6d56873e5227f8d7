"""Functions and short spellings that the planner's tests build their DAGs with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dagcelery.model import DAG, Each, FromNodeOutput, FromParam, FromReturnValue, Source, Task, TaskOptions

VALUE = "return_value"


def numbers(n: int) -> list[int]:
    return list(range(n))


def square(x: int) -> int:
    return x * x


def double(x: int) -> int:
    return x + x


def add(x: int, y: int) -> int:
    return x + y


def total(xs: list[int]) -> int:
    return sum(xs)


def nothing() -> None:
    return None


def out(node: str, output: str = VALUE) -> FromNodeOutput:
    return FromNodeOutput(node, output)


def each(node: str, output: str = VALUE) -> Each:
    return Each(FromNodeOutput(node, output))


def task(func: Callable[..., Any], options: TaskOptions | None = None, /, *, after: Any = (), **inputs: Source) -> Task:
    return Task(func, inputs, {VALUE: FromReturnValue()}, options=options, after=after)


def lister(func: Callable[..., Any], /, **inputs: Source) -> Task:
    return Task(func, inputs, {VALUE: FromReturnValue(is_partitioned=True)})


def graph(nodes: Mapping[str, Task | DAG], result: str, *params: str, **more: Any) -> DAG:
    return DAG(nodes, {name: FromParam() for name in params}, {VALUE: out(result)}, **more)


def placed(dag: DAG, *, after: Any = (), **inputs: Source) -> DAG:
    """Return `dag` as a node that takes these inputs."""
    return DAG(dag.nodes, inputs, dag.outputs, name=dag.name, options=dag.options, after=after)


def map_reduce() -> DAG:
    """The sum of the squares of range(n)."""
    return graph(
        {
            "numbers": lister(numbers, n=FromParam()),
            "square": task(square, x=each("numbers")),
            "total": task(total, xs=out("square")),
        },
        "total",
        "n",
    )
