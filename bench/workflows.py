"""Four workflows of science as they were really executed, beside a greedy list schedule of the same bodies.

`graphs/` has their nodes: what each was called, how many seconds it took, and which others it needed. They were taken
from WfInstances (https://github.com/wfcommons/WfInstances), an open collection of executions; each file names the
instance that it comes from.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.ground import Ground
from bench.rows import Row
from dagcelery.local import cluster

GRAPHS = Path(__file__).parent / "graphs"
PROCESSES = 8
SCHEDULE_SECONDS = 2.0

Nodes = tuple[tuple[float, tuple[int, ...]], ...]
"""Seconds and needs; what is needed stands before."""


def workflows(ground: Ground) -> Iterator[Row]:
    """Measure them on eight processes, with sleeping bodies that are scaled so that the schedule takes two seconds."""
    with cluster(workers=PROCESSES, app="bench.loads") as here:
        eight = ground.on(here)
        for path in sorted(GRAPHS.glob("*.json")):
            nodes = scaled(read(path), SCHEDULE_SECONDS, PROCESSES)
            took = min(eight.once(eight.loads.workflow, nodes=nodes) for _ in range(1 if ground.quick else 2))
            name = f"workflow {path.stem}, {len(nodes)} nodes, 8 processes"
            yield Row(name, SCHEDULE_SECONDS / took, "schedule/measured", ">= 0.95")


def read(path: Path) -> Nodes:
    """Return the nodes of a file."""
    return tuple((seconds, tuple(needs)) for _, seconds, needs in json.loads(path.read_text())["nodes"])


def scaled(nodes: Nodes, seconds: float, processes: int) -> Nodes:
    """Return the same graph with bodies so long that the schedule takes `seconds`."""
    factor = seconds / list_schedule(nodes, processes)
    return tuple((body * factor, needs) for body, needs in nodes)


def list_schedule(nodes: Sequence[tuple[float, Sequence[int]]], processes: int) -> float:
    """Return the end of the last node, if each process that is free takes the first one that is ready."""
    waits = [len(needs) for _, needs in nodes]
    after: list[list[int]] = [[] for _ in nodes]
    for node, (_, needs) in enumerate(nodes):
        for other in needs:
            after[other].append(node)
    ready = [node for node, left in enumerate(waits) if not left]
    running, now, free = list[tuple[float, int]](), 0.0, processes
    while ready or running:
        while ready and free:
            node, free = heapq.heappop(ready), free - 1
            heapq.heappush(running, (now + nodes[node][0], node))
        now, node = heapq.heappop(running)
        free += 1
        for other in after[node]:
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready, other)
    return now
