"""Whether processes are kept busy while there is work, and no run waits long for another one."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.ground import Ground
from bench.rows import Row
from bench.workflows import list_schedule


def skew(ground: Ground) -> Iterator[Row]:
    """Measure one long item among short ones, and a fork with one long branch, against a greedy list schedule."""
    seconds = [2.0] + [0.01] * 99
    ground.once(ground.loads.naps, seconds=[0.01] * 10)
    took = ground.once(ground.loads.naps, seconds=seconds)
    ideal = list_schedule([(each, ()) for each in seconds], 2)
    yield Row("100 items, one of 2 s, beyond list schedule", took - ideal, "s", "<= 0.3")
    took = ground.once(ground.loads.fork, branches=100, long=2.0, short=0.01)
    ideal = list_schedule([(2.0, ()), *[(0.01, ())] * 100], 2)
    yield Row("fork, one branch of 2 s, beyond list schedule", took - ideal, "s", "<= 0.3")


def fairness(ground: Ground) -> Iterator[Row]:
    """Measure a one-node run submitted during a fan-out of 10 ms items."""
    # Both runs come from the app of the workers, as messages of another app may have another priority.
    long = ground.loads.naps.submit(seconds=[0.01] * (10_000 if ground.quick else 100_000))
    time.sleep(2)
    asked = time.time()
    started = ground.loads.one_node.submit().result(timeout=60)
    long.cancel()
    yield Row("one-node run during a fan-out starts after", started - asked, "s", "<= 2")
