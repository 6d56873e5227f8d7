"""What one small run costs, beside a plain Celery task on the same workers, and what it leaves behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.ground import TIMEOUT_SECONDS, Ground
from bench.rows import Row


def latency(ground: Ground) -> Iterator[Row]:
    """Measure one node, from submit to result."""
    loads = ground.loads
    plain = [timed(lambda: loads.plain_started_at.delay().get(timeout=TIMEOUT_SECONDS)) for _ in range(30)]
    ours = [ground.once(loads.one_node) for _ in range(30)]
    beside = "plain task with result"
    yield Row("submit to result, one node, median", median(ours) * 1e3, "ms", "", beside, median(plain) * 1e3)


def loop(ground: Ground) -> Iterator[Row]:
    """Measure a loop of submits up to the last result, and the submits alone."""
    times, rounds = (100, 2) if ground.quick else (500, 2)
    loads, ours, plain = ground.loads, list[tuple[float, ...]](), list[tuple[float, ...]]()
    for _ in range(rounds):
        ours.append(looped(ground, times, lambda: ground.submit(loads.one_node), "result"))
        plain.append(looped(ground, times, loads.plain_started_at.delay, "get"))
    names = (
        ("run of one node, in a loop", "<= 1.3 x", "plain task with result"),
        ("submit alone", "<= 1.5 x", "delay alone"),
        ("server's CPU for the run and its messages", "", "plain task with result"),
    )
    for (name, goal, beside), mine, theirs in zip(
        names, zip(*ours, strict=True), zip(*plain, strict=True), strict=True
    ):
        yield Row(name, min(mine) * 1e3, "ms", goal, beside, min(theirs) * 1e3)


def looped(ground: Ground, times: int, submit: Callable[[], Any], wait: str) -> tuple[float, float, float]:
    """Return seconds a run: of all, of the submits, and of the server."""
    runs = list[Any]()

    def all_of_it() -> None:
        runs.extend(submit() for _ in range(times))
        submitted.append(time.perf_counter())
        getattr(runs[-1], wait)(timeout=TIMEOUT_SECONDS)

    submitted, started = list[float](), time.perf_counter()
    of_server = ground.spent(all_of_it)
    took = time.perf_counter() - started
    for run in runs:  # the last one to be submitted need not be the last one to end
        getattr(run, wait)(timeout=TIMEOUT_SECONDS)
    return took / times, (submitted[0] - started) / times, of_server / times


def left(ground: Ground) -> Iterator[Row]:
    """Measure what a finished run leaves in the server."""
    run = ground.submit(ground.loads.one_node)
    run.result(timeout=TIMEOUT_SECONDS)
    time.sleep(0.5)  # the worker takes leave after the result is there
    keys = list(ground.server.scan_iter(match=f"*{run.id}*", count=10_000))
    size = sum(int(ground.server.memory_usage(key, samples=0) or 0) for key in keys)
    yield Row("a finished run of one node leaves", size / 1024, "KB", "<= 3")
    yield Row("a finished run of one node leaves", len(keys), "keys", "<= 4")


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def median(samples: list[float]) -> float:
    """Return the one in the middle."""
    return sorted(samples)[len(samples) // 2]
