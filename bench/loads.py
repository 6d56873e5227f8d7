"""The graphs that are measured, as a user would write them, and the same as plain Celery canvas."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterable
from typing import Any

from celery import Celery

from bench.ground import spin
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
def busy_cell(a: int, b: int, c: int, seconds: float) -> int:
    spin(seconds)
    return (a + b + c) % 1000


@task
def busy_increment(x: int) -> int:
    spin(0.002)
    return x + 1


@task
def nap(clocks: list[float], seconds: float, begins: bool) -> list[float]:
    """Sleep, and tell how long this process has computed: at the link where that begins to count, and now."""
    time.sleep(seconds)
    now = time.process_time()
    return [now if begins or not clocks else clocks[0], now]


@task
def stage(seconds: float, after: list[float]) -> float:
    """A node of a workflow, which needs others."""
    time.sleep(seconds)
    return seconds


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


@dag(static=("width", "steps", "seconds"))
def stencil(width: int, steps: int, x: int, seconds: float = 0.0) -> int:
    row = [increment(x) for _ in range(width)]
    for _ in range(steps - 1):
        around = [(row[max(0, i - 1)], row[i], row[min(width - 1, i + 1)]) for i in range(width)]
        row = [busy_cell(*three, seconds) if seconds else cell(*three) for three in around]
    return total([*row])


@dag(static=("length", "seconds", "skipped", "alone"))
def naps_in_a_row(length: int, seconds: float, skipped: int, alone: bool) -> list[float]:
    """A chain, of which so many links are skipped in what is counted: a worker learns from them how long one takes.

    What has a taint is claimed `alone`, not in a batch with others.
    """
    clocks: list[float] = []
    link = nap.options(taint="gpu") if alone else nap
    for number in range(skipped + length + 1):
        clocks = link(clocks, seconds, number == skipped)
    return clocks


@dag(static=("nodes",))
def workflow(nodes: tuple[tuple[float, tuple[int, ...]], ...]) -> int:
    """A graph of bodies that take so long and need others, which stand before them."""
    made: list[Any] = []
    for seconds, needs in nodes:
        made.append(stage(seconds, [made[other] for other in needs]))
    return count(made)


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
def plain_started_at() -> float:
    return time.time()


@app.task
def plain_total(xs: list[int]) -> int:
    return sum(xs)
