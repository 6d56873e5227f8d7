"""A user's module, which workers find in a folder or in a volume: who did what, and pieces that can be disturbed."""

from __future__ import annotations

import time

from celery import current_task

from dagcelery import dag, task


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def square(x: int, seconds: float) -> int:
    time.sleep(seconds)
    return x * x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def squares(n: int, seconds: float = 0.0) -> int:
    """A map and its reduction: a chord."""
    return total([square(x, seconds) for x in numbers(n)])


@task
def read(path: str) -> list[str]:
    return [path, current_task.request.hostname]


@task(taint="gpu")
def infer(seen: list[str]) -> list[str]:
    return [*seen, current_task.request.hostname]


@task
def save(seen: list[str]) -> list[str]:
    return [*seen, current_task.request.hostname]


@dag
def there_and_back(path: str) -> list[str]:
    """From the default queue to another one and back: a chain."""
    return save(infer(read(path)))
