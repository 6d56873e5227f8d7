"""How much memory is needed: by a reducer of many items, by finished runs, and by a worker that has seen many runs."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.building import chain_of
from bench.ground import TIMEOUT_SECONDS, Ground, memory_of
from bench.rows import Row
from dagcelery import DAG
from dagcelery.local import cluster

IN_FLIGHT = 100


def reducer(ground: Ground) -> Iterator[Row]:
    """Measure a lazy reducer over items of 10 KB."""
    n = 10_000 if ground.quick else 100_000
    run = ground.submit(ground.loads.fat_reduce, n=n)
    size, kilobytes = run.result(timeout=TIMEOUT_SECONDS)
    run.delete()
    assert size == n * 10_000, size
    yield Row(f"lazy reducer over {n:,} items of 10 KB, largest memory", kilobytes / 1024, "MB", "<= 100")


def stored(ground: Ground) -> Iterator[Row]:
    """Measure the memory of finished runs in Redis."""
    for n in (10_000, 100_000):
        before = used(ground)
        ground.submit(ground.loads.map_reduce, n=n).result(timeout=TIMEOUT_SECONDS)
        yield Row(f"Redis bytes an item at {n:,}", (used(ground) - before) / n, "bytes", "<= 25")


def many_runs(ground: Ground) -> Iterator[Row]:
    """Measure a worker, and Redis, after a tenth of many small runs of different DAGs, and after all of them.

    Each run is deleted once its result was read, so what Redis has more in the end belongs to no run.
    """
    runs = 1_000 if ground.quick else 10_000
    with cluster(workers=1, app="bench.loads") as here:
        one = ground.on(here)
        work(one, 0, runs // 10)
        worker, server = memory_of(here.pids[0]), used(one)
        work(one, runs // 10, runs)
        for name, before, after in (
            ("memory of a worker", worker, memory_of(here.pids[0])),
            ("memory of Redis", server, used(one)),
        ):
            beside, rival = f"after {runs // 10:,}", before / 2**20
            yield Row(f"{name} after {runs:,} runs", after / 2**20, "MB", "<= 1.05 x", beside, rival)


def work(one: Ground, first: int, last: int) -> None:
    """Let a worker execute runs of different DAGs, some at a time, and delete them."""
    for at in range(first, last, IN_FLIGHT):
        runs = [one.submit(different(one, tag), x=tag) for tag in range(at, min(last, at + IN_FLIGHT))]
        for run in runs:
            run.result(timeout=TIMEOUT_SECONDS)
            run.delete()


def different(one: Ground, tag: int) -> DAG:
    """Return a small DAG unlike all others; as data, since to read a body would take longer than all the rest."""
    return chain_of(one.loads.increment, [f"first-{tag}", f"second-{tag}"])


def used(ground: Ground) -> int:
    """Return the bytes that the server has in use, once workers have taken leave of their runs."""
    time.sleep(0.5)
    ground.server.memory_purge()
    return int(ground.server.info("memory")["used_memory"])
