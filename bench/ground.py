"""What loads are measured on: a cluster of two worker processes, the cost of its server, and clocks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import redis

from dagcelery.client import Run
from dagcelery.local import Cluster

TIMEOUT_SECONDS = 600


class Ground:
    """A cluster, and whether loads shall be small."""

    def __init__(self, here: Cluster, quick: bool) -> None:
        os.environ.update(here.environment)
        from bench import loads  # its app reads the addresses of the cluster

        self.here = here
        self.quick = quick
        self.loads: ModuleType = loads
        self.server = redis.Redis.from_url(here.store_url)

    def on(self, here: Cluster) -> Ground:
        """Return the same on another cluster."""
        other = object.__new__(Ground)
        other.__dict__.update(vars(self), here=here, server=redis.Redis.from_url(here.store_url))
        return other

    def submit(self, node: Any, **params: Any) -> Run[Any]:
        """Submit to this cluster, whichever is the default."""
        return self.here.client.submit(node, params)

    def once(self, node: Any, **params: Any) -> float:
        """Return the seconds from submit to result."""
        started = time.perf_counter()
        self.submit(node, **params).result(timeout=TIMEOUT_SECONDS)
        return time.perf_counter() - started

    def seconds(self, node: Any, times: int = 3, **params: Any) -> float:
        """Return the shortest time of some runs, after a warm-up run."""
        self.once(node, **params)
        return min(self.once(node, **params) for _ in range(1 if self.quick else times))

    def cpu(self) -> float:
        """Return the seconds that the server has computed, for store and broker."""
        used = self.server.info("cpu")
        return float(used["used_cpu_user"] + used["used_cpu_sys"])

    def spent(self, act: Callable[[], object]) -> float:
        """Return the seconds that the server computes for something."""
        before = self.cpu()
        act()
        return self.cpu() - before


def alternating(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """Take each measure in turn, some rounds long; return the least of each, so that all had the same minutes."""
    columns = zip(*[[measure() for measure in measures] for _ in range(rounds)], strict=True)
    return [min(column) for column in columns]


def memory_of(pid: int) -> int:
    """Return the bytes of memory that a process and its children have for themselves (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(memory_of(int(child)) for child in children)


def spin(seconds: float) -> None:
    """Keep a processor busy."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
