"""Tasks for short questions."""

from __future__ import annotations

from typing import Any

from dagcelery import task


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def double(x: int) -> int:
    return 2 * x


@task
def triple(x: int) -> int:
    return 3 * x


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def count(xs: list[Any]) -> int:
    return len(xs)


@task
def echo(x: Any) -> Any:
    return x
