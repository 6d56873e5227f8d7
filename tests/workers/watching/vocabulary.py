"""DAGs to watch. Workers are given them by value: they stand in a module of the tests."""

from __future__ import annotations

import os
import time

from dagcelery import Retry, dag, task


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def square(x: int) -> int:
    return x * x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def squares(n: int) -> int:
    return total([square(x) for x in numbers(n)])


@task
def patient(path: str) -> int:
    while not os.path.exists(path):
        time.sleep(0.01)
    return 3


@dag
def waits(path: str) -> int:
    return total([square(x) for x in numbers(patient(path))])


@task(retry=Retry(max_attempts=2, wait=0))
def fragile(x: int) -> int:
    if x == 2:
        raise ValueError(x)
    return x


@dag
def breaks(n: int) -> int:
    return total([fragile(x) for x in numbers(n)])


@dag
def row(n: int) -> int:
    return total([square(x) for x in numbers(n)])


@dag
def rows(n: int) -> int:
    return total([row(x) for x in numbers(n)])


@task(dynamic=True)
def grow(n: int) -> int:
    return rows(n)


@dag
def grown(n: int) -> int:
    return total([grow(x) for x in numbers(n)])


@task(queue="nobody")
def elsewhere(n: int) -> int:
    return n


@dag
def stranded(n: int) -> int:
    return square(elsewhere(n))
