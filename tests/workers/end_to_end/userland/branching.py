"""A user's module with branches, on two queues, one within the other and for each item."""

from __future__ import annotations

from dagcelery import dag, task, when


@task
def upto(n: int) -> list[int]:
    return list(range(n))


@task
def is_odd(x: int) -> bool:
    return x % 2 == 1


@task(taint="gpu")
def large(x: int) -> list[int]:
    return [x] * 100_000


@task
def small(x: int) -> int:
    return -x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def judged(x: int) -> int:
    return when(is_odd(x), lambda: total(large(x)), lambda: when(x, lambda: small(x), lambda: 1000))


@dag
def judged_all(n: int) -> int:
    return total([judged(x) for x in upto(n)])
