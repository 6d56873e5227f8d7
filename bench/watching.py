"""What it costs to look on: the status of large runs, and the events that Flower shows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.ground import TIMEOUT_SECONDS, Ground, alternating
from bench.rows import Row
from bench.small import timed
from dagcelery.local import cluster


def status(ground: Ground) -> Iterator[Row]:
    """Measure the status of a run of many nodes, and of one of many items, both while it works and at the end."""
    nodes, items = (2_000, 10_000) if ground.quick else (20_000, 100_000)
    loads = ground.loads
    for name, node, params, goal in (
        (f"{nodes:,} nodes", loads.independent, {"width": nodes - 1, "x": 1}, "<= 150"),
        (f"{items:,} items", loads.map_reduce, {"n": items}, "<= 50"),
    ):
        run = ground.submit(node, **params)
        run.status()
        while_it_works = timed(run.status)
        run.result(timeout=TIMEOUT_SECONDS)
        at_its_end = min(timed(run.status) for _ in range(3))
        yield Row(f"status of {name}, once begun", while_it_works * 1e3, "ms")
        yield Row(f"status of {name}", at_its_end * 1e3, "ms", goal)


def observed(ground: Ground) -> Iterator[Row]:
    """Measure the cost of events for Flower per node, on one cluster with and one without them."""
    with cluster(workers=2, app="bench.loads", events=True) as here:
        watched = ground.on(here)
        for busy, goal in ((False, "<= 1.15 x"), (True, "<= 1.05 x")):
            params = {"length": 300, "x": 0, "busy": busy}
            both = [partial(each.once, ground.loads.chain, **params) for each in (watched, ground)]
            with_events, without = alternating(3 if ground.quick else 6, *both)
            name = f"{'2 ms' if busy else 'no-op'} nodes with events"
            yield Row(name, with_events / 300 * 1e6, "us a node", goal, "without", without / 300 * 1e6)
