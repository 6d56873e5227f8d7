"""The graphs that are measured, as a user would write them, and the same as plain Celery canvas."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterable
from typing import Any

from celery import Celery

from dagcelery import attach, dag, task
from dagcelery.settings import Settings

_settings = Settings.from_environment()
app = Celery("bench", broker=_settings.broker_url or "memory://", backend=_settings.broker_url or "cache+memory://")
app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)
if _settings.store_url:
    attach(app)


# -- dagcelery -----------------------------------------------------------------------------------
@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def increment(x: int) -> int:
    return x + 1


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def work(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task
def count(xs: list[Any]) -> int:
    return len(xs)


@task
def cell(a: int, b: int, c: int) -> int:
    return (a + b + c) % 1000


@task
def busy_cell(a: int, b: int, c: int) -> int:
    spin(0.001)
    return (a + b + c) % 1000


@task
def busy_increment(x: int) -> int:
    spin(0.002)
    return x + 1


def spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


@task
def fat(x: int) -> str:
    return "x" * 10_000


@task
def peak_memory(xs: Iterable[str]) -> list[int]:
    """Read all elements; return their number of bytes, and the process's largest memory in KB."""
    size = sum(len(x) for x in xs)
    return [size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]


@task
def started_at() -> float:
    return time.time()


@dag
def map_reduce(n: int) -> int:
    return total([increment(x) for x in numbers(n)])


@dag
def fat_reduce(n: int) -> list[int]:
    return peak_memory([fat(x) for x in numbers(n)])


@dag
def naps(seconds: list[float]) -> int:
    return count([work(s) for s in seconds])


@dag(static=("length", "busy"))
def chain(length: int, x: int, busy: bool = False) -> int:
    node = busy_increment if busy else increment
    for _ in range(length):
        x = node(x)
    return x


@dag(static=("width",))
def independent(width: int, x: int) -> int:
    return total([increment.options(name=f"node-{i}")(x) for i in range(width)])


@dag(static=("width", "steps", "busy"))
def stencil(width: int, steps: int, x: int, busy: bool = False) -> int:
    node = busy_cell if busy else cell
    row = [increment(x) for _ in range(width)]
    for _ in range(steps - 1):
        row = [node(row[max(0, i - 1)], row[i], row[min(width - 1, i + 1)]) for i in range(width)]
    return total([*row])


@dag(static=("branches",))
def fork(branches: int, long: float, short: float) -> int:
    return count([work(long), *[work(short) for _ in range(branches)]])


@task(dynamic=True)
def crawl(page: int, pages: int, links: int) -> list[int]:
    """Link a page to some others, until there are enough pages; a page without links is a value, not a graph."""
    found = range(page * links + 1, min(pages, (page + 1) * links + 1))
    return united(page, [crawl(other, pages, links) for other in found]) if found else [page]


@task
def united(page: int, found: list[list[int]]) -> list[int]:
    return [page, *(other for others in found for other in others)]


@dag
def one_node() -> float:
    return started_at()


# -- plain Celery --------------------------------------------------------------------------------
@app.task
def plain_increment(x: int) -> int:
    return x + 1


@app.task
def plain_total(xs: list[int]) -> int:
    return sum(xs)
