"""A small map-reduce with what takes a while, what is tried again, and what waits on a queue of its own."""

from __future__ import annotations

import os
import time

from dagcelery import Retry, current, dag, task


@task(retry=Retry(max_attempts=2, wait=0.1))
def unsteady(x: int) -> int:
    if current().attempt == 1:
        raise ConnectionError("once")
    return x


@task
def slow(x: int) -> int:
    time.sleep(1.3 if x == 3 else 0)
    return x * x


@task(queue=f"{os.environ['STRICT_KIND']}_gpu")
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def with_pid(x: int) -> tuple[int, int]:
    return x, os.getppid()


@dag
def strict(xs: list[int]) -> tuple[int, int]:
    return with_pid(total([slow(unsteady(x)) for x in xs]))
