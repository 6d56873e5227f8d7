"""What a node costs in graphs of some shapes: seconds from submit to result, and what the server computes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import celery

from bench.floor import floor
from bench.ground import TIMEOUT_SECONDS, Ground, alternating
from bench.rows import Row
from dagcelery.client import default_client, plan_of

CHAIN, STENCIL, NARROW, WIDE = "chain of 300", "stencil 32x30", "stencil 8x100", "1,000 side by side"


def no_op(ground: Ground) -> dict[str, tuple[int, Any, dict[str, Any]]]:
    """Return the graphs of which each node does nothing: how many nodes, and what is submitted."""
    loads = ground.loads
    return {
        CHAIN: (300, loads.chain, {"length": 300, "x": 0}),
        STENCIL: (32 * 30, loads.stencil, {"width": 32, "steps": 30, "x": 0}),
        NARROW: (8 * 100, loads.stencil, {"width": 8, "steps": 100, "x": 0}),
        WIDE: (1001, loads.independent, {"width": 1000, "x": 1}),
    }


def plain(signature: Any) -> float:
    """Return the seconds from sending plain canvas to its result."""
    started = time.perf_counter()
    signature.apply_async().get(timeout=TIMEOUT_SECONDS)
    return time.perf_counter() - started


def map_reduce(ground: Ground) -> Iterator[Row]:
    """Measure fan-outs of no-op items, and their reduction, beside plain Celery's chord."""
    loads, size = ground.loads, 300 if ground.quick else 1_000
    header = celery.group(loads.plain_increment.s(x) for x in range(size))
    chord = plain(celery.chord(header, loads.plain_total.s())) / size * 1e6
    for n, goal in ((10_000, "<= 1/300 x"), (100_000, "<= 1/800 x")):
        each = ground.seconds(loads.map_reduce, n=n) / n * 1e6
        yield Row(f"map-reduce, {n:,} items", each, "us an item", goal, f"plain chord of {size:,}", chord)


def chain(ground: Ground) -> Iterator[Row]:
    """Measure a straight run on one queue, beside plain Celery's chain."""
    loads = ground.loads
    links = celery.chain(loads.plain_increment.s(0), *[loads.plain_increment.s() for _ in range(299)])
    each = ground.seconds(loads.chain, length=300, x=0) / 300 * 1e6
    yield Row(CHAIN, each, "us a node", "<= 1/4 x", "plain chain of 300", plain(links) / 300 * 1e6)


def side_by_side(ground: Ground) -> Iterator[Row]:
    """Measure nodes that need three of the row before, and nodes that need none, beside links of a chain."""
    graphs = no_op(ground)
    nodes, node, params = graphs.pop(CHAIN)
    link = ground.seconds(node, **params) / nodes * 1e6
    for name, (nodes, node, params) in graphs.items():
        yield Row(name, ground.seconds(node, **params) / nodes * 1e6, "us a node", "<= 1 x", "a link of a chain", link)


def crawl(ground: Ground) -> Iterator[Row]:
    """Measure nodes that are added while the run goes on."""
    pages = 2_000 if ground.quick else 10_000
    for links in (10, 3):
        ground.once(ground.loads.crawl, page=0, pages=100, links=links)
        each = ground.once(ground.loads.crawl, page=0, pages=pages, links=links) / pages * 1e6
        yield Row(f"crawl of {pages:,} pages, {links} links each", each, "us a page", "<= 500")


def growth(ground: Ground) -> Iterator[Row]:
    """Measure a node in graphs of 10^2 to 10^5 nodes, without their planning."""
    client, found = default_client(), dict[int, float]()
    for nodes in (100, 1_000, 10_000) if ground.quick else (100, 1_000, 10_000, 100_000):
        built = ground.loads.independent.__dag__(width=nodes - 1)  # and their join
        plan_of(built, queue=client.app_context.app.conf.task_default_queue, settings=client.settings)
        if nodes <= 1_000:
            ground.once(built, x=1)
        found[nodes] = ground.once(built, x=1) / nodes * 1e6
    for nodes, each in found.items():
        goal = "<= 1.2 x" if nodes > 1_000 else ""
        yield Row(f"a node of {nodes:,}", each, "us a node", goal, "a node of 1,000", found[1_000])


def server(ground: Ground) -> Iterator[Row]:
    """Measure what the server computes for a node, which says what one Redis can carry, beside the floor."""
    rounds = 2 if ground.quick else 4
    for name, (nodes, node, params) in no_op(ground).items():
        ground.once(node, **params)
        each, alone, shared = alternating(
            rounds,
            partial(ground.spent, partial(ground.once, node, **params)),
            partial(floor, ground.server, 1),
            partial(floor, ground.server, 8),
        )
        cost = each / nodes * 1e6
        yield Row(f"server's CPU, {name}", cost, "us a node", "<= 2 x", "floor, 1 a call", alone * 1e6)
        if name != CHAIN:
            yield Row(f"server's CPU, {name}", cost, "us a node", "<= 2 x", "floor, 8 a call", shared * 1e6)
