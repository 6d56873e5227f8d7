"""A few tasks that the tests of this folder make DAGs of; each says in plain Python what it means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from dagcelery.frontends.functional import task


class Split(NamedTuple):
    train: int
    test: int


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def counted(n: int) -> Iterator[int]:
    yield from range(n)


@task
def square(x: int) -> int:
    return x * x


@task
def add(a: int, b: int = 10) -> int:
    return a + b


@task
def total(xs: Iterable[int]) -> int:
    return sum(xs)


@task
def same(value: Any) -> Any:
    return value


@task
def seven() -> int:
    return 7


@task
def record(x: int) -> dict[str, Any]:
    return {"a": x, "b": [x, {"c": x + 1}], "xs": list(range(x))}


@task
def named_halves(x: int) -> Split:
    return Split(x // 2, x - x // 2)


@task
def table(n: int) -> dict[str, int]:
    return {str(i): i * i for i in range(n)}
