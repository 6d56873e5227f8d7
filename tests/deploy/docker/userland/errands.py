"""A user's module, which the containers find in a volume: pieces that take long enough to be disturbed."""

from __future__ import annotations

import os
import time

from dagcelery import dag, task


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def errand(x: int, seconds: float) -> int:
    time.sleep(seconds)
    return x * x


@task(taint="gpu")
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def errands(n: int, seconds: float) -> int:
    return total([errand(x, seconds) for x in numbers(n)])


@task
def user() -> int:
    return os.getuid()


@task(taint="gpu")
def devices() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


@dag
def surroundings() -> list[str | int]:
    return [user(), devices()]


@dag(schedule="* * * * *")
def round_trip() -> int:
    return user()
