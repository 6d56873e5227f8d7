"""What a node costs beside its body: for bodies of any length, and where bodies are as short as the cost itself."""

from __future__ import annotations

import hmac
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise

from bench.ground import TIMEOUT_SECONDS, Ground, alternating, spin
from bench.rows import Row
from dagcelery.local import cluster

LENGTHS_MS = (0, 1, 5, 9, 11, 20, 50)
SKIPPED = 25
"""More calls than a worker remembers durations of, so that it knows how long this body takes."""
WIDTH = 8
PROCESSES = 2


def overhead(ground: Ground) -> Iterator[Row]:
    """Measure a chain of sleeping bodies on one worker process: what it computes for a link, whatever its length.

    Links are claimed alone, so that all lengths take the same path; short ones in batches are a row of their own. A
    processor that has slept computes more slowly for a while, since its caches are cold: a bare process that sleeps as
    long before it asks the same server, signs and encodes shows by how much, and so much is not the worker's.
    """
    lengths = LENGTHS_MS[::3] if ground.quick else LENGTHS_MS
    rounds, links = (1, 30) if ground.quick else (2, 50)
    with cluster(workers=1, taints="gpu", app="bench.loads") as here:
        one = ground.on(here)
        measures = [partial(computed, one, ms / 1000, links, alone=True) for ms in lengths]
        measures += [partial(bare_work, one, ms / 1000, links) for ms in lengths]
        figures = [each * 1e6 for each in alternating(rounds, *measures, partial(computed, one, 0.0, 300, alone=False))]
    ours, bare, shared = figures[: len(lengths)], figures[len(lengths) : -1], figures[-1]
    yield Row("a worker's CPU beside a body of 0 ms, in batches", shared, "us a node", "", "alone", ours[0])
    for ms, mine, theirs in list(zip(lengths, ours, bare, strict=True))[1:]:
        slowed = ours[0] * theirs / bare[0]
        beside = "0 ms, slowed like a bare process"
        yield Row(f"a worker's CPU beside a body of {ms} ms", mine, "us a node", "<= 1.3 x", beside, slowed)
        yield Row(f"a bare process's, after {ms} ms of sleep", theirs, "us", "", "0 ms", bare[0])


def computed(one: Ground, seconds: float, links: int, *, alone: bool) -> float:
    """Return how long a worker process computes for one link of a chain."""
    chain = {"length": links, "seconds": seconds, "skipped": SKIPPED, "alone": alone}
    first, last = one.submit(one.loads.naps_in_a_row, **chain).result(timeout=TIMEOUT_SECONDS)
    return float(last - first) / links


def bare_work(one: Ground, seconds: float, times: int) -> float:
    """Return how long this process computes for what no worker could do without, each time after a sleep."""
    started = time.process_time()
    for _ in range(times):
        time.sleep(seconds)
        text = json.dumps({"values": [seconds] * 10})
        signed = hmac.digest(b"key", text.encode(), "sha256").hex() + text
        json.loads(one.server.echo(signed)[64:])
    return (time.process_time() - started) / times


def efficiency(ground: Ground) -> Iterator[Row]:
    """Measure a stencil of busy bodies, beside two bare processes that do nothing but these bodies."""
    measured, rounds = list[tuple[float, float]](), 1 if ground.quick else 3
    ours = stencil_on(ground)
    with two_bare() as bare:
        for ms in (10.0, 2.0, 1.0) if ground.quick else (10.0, 5.0, 2.0, 1.0, 0.5, 0.25):
            ours(ms / 1000, 10)
            slowdowns = alternating(rounds, *[partial(slowdown, ms, took) for took in (ours, bare)])
            found, theirs = (1 / each for each in slowdowns)
            measured.append((ms / 1000, found))
            goal = {10: ">= 0.9 x", 5: ">= 0.85 x", 2: ">= 0.7 x", 1: ">= 0.6 x"}.get(int(ms), "")
            name = f"efficiency of a stencil, {ms:g} ms bodies"
            yield Row(name, found, "ideal/measured", goal, "two bare processes", theirs)
    yield Row("METG (50 %) of a stencil", metg(measured) * 1e3, "ms")


Took = Callable[[float, int], float]
"""How long a stencil takes, or two processes with its bodies, if they last so long and there are so many rows."""


def stencil_on(ground: Ground) -> Took:
    """Return what measures our stencil."""

    def took(seconds: float, steps: int) -> float:
        return ground.once(ground.loads.stencil, width=WIDTH, steps=steps, x=0, seconds=seconds)

    return took


def slowdown(ms: float, took: Took) -> float:
    """Return how many times as long a stencil of some rows takes as two processes could, if they did nothing else."""
    steps, seconds = max(25, min(100, int(250 / ms))), ms / 1000  # long enough to be measured
    return took(seconds, steps) / (WIDTH * steps * seconds / PROCESSES)


def metg(measured: Sequence[tuple[float, float]]) -> float:
    """Return the shortest body, in seconds, that still makes half of the time useful, between those measured.

    Where none was measured on the other side of one half, it is what a node costs beside the shortest body.
    """
    for (longer, better), (shorter, worse) in pairwise(measured):
        if better >= 0.5 > worse:
            part = (better - 0.5) / (better - worse)
            return math.exp(math.log(longer) + part * (math.log(shorter) - math.log(longer)))
    shortest, found = measured[-1]
    return shortest * (1 / found - 1)


@contextmanager
def two_bare() -> Iterator[Took]:
    """Start two processes that do nothing but the bodies of a stencil."""
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as opened:
        pools = [opened.enter_context(spawn.Pool(1)) for _ in range(PROCESSES)]

        def took(seconds: float, steps: int) -> float:
            started = time.perf_counter()
            halves = [pool.apply_async(spins, (seconds, WIDTH * steps // PROCESSES)) for pool in pools]
            for half in halves:
                half.get()
            return time.perf_counter() - started

        took(0.0, 1)  # they have started
        yield took


def spins(seconds: float, times: int) -> None:
    """Do nothing but bodies."""
    for _ in range(times):
        spin(seconds)
