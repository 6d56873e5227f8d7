"""Measure, with two worker processes on an embedded server: ``python -m bench [--quick] [--only NAME]``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import celery
import redis
from rich.console import Console
from rich.table import Table

from dagcelery.local import Cluster, cluster


@dataclass
class Row:
    """One figure."""

    load: str
    value: float
    unit: str
    aim: str = ""


class Bench:
    """Runs loads on a cluster of two processes."""

    def __init__(self, here: Cluster, quick: bool) -> None:
        os.environ.update(here.environment)
        from bench import loads

        self.here = here
        self.quick = quick
        self.loads = loads

    def seconds(self, node: Any, times: int = 3, **params: Any) -> float:
        """Return the shortest time of some runs, from submit to result, after a warm-up run."""
        self.once(node, **params)
        return min(self.once(node, **params) for _ in range(1 if self.quick else times))

    def once(self, node: Any, **params: Any) -> float:
        started = time.perf_counter()
        node.submit(**params).result(timeout=600)
        return time.perf_counter() - started

    def map_reduce(self) -> Iterator[Row]:
        """Measure fan-outs of no-op items, and their reduction."""
        for n, aim in ((10_000, "<= 15"), (100_000, "<= 6")):
            yield Row(f"map-reduce, {n:,} items", self.seconds(self.loads.map_reduce, n=n) / n * 1e6, "us an item", aim)

    def chain(self) -> Iterator[Row]:
        """Measure a straight run on one queue."""
        yield Row("chain of 300", self.seconds(self.loads.chain, length=300, x=0) / 300 * 1e6, "us a node", "<= 200")

    def stencil(self) -> Iterator[Row]:
        """Measure rows of nodes, each of which needs three of the row before."""
        for width, steps in ((32, 30), (8, 100)):
            seconds = self.seconds(self.loads.stencil, width=width, steps=steps, x=0)
            yield Row(f"stencil {width}x{steps}", seconds / (width * steps) * 1e6, "us a node", "<= 200")
        seconds = self.seconds(self.loads.stencil, width=32, steps=30, x=0, busy=True)
        yield Row("stencil 32x30, 1 ms bodies", 32 * 30 * 0.001 / 2 / seconds, "ideal/measured", ">= 0.69")

    def independent(self) -> Iterator[Row]:
        """Measure many nodes and a join."""
        seconds = self.seconds(self.loads.independent, width=1000, x=1)
        yield Row("1,000 independent nodes + join", seconds / 1001 * 1e6, "us a node", "<= 200")

    def crawl(self) -> Iterator[Row]:
        """Measure nodes that are added while the run goes on."""
        for links in (10, 3):
            seconds = self.seconds(self.loads.crawl, page=0, pages=10_000, links=links)
            yield Row(f"crawl of 10,000 pages, {links} links each", seconds / 10_000 * 1e6, "us a page", "<= 500")

    def observed(self) -> Iterator[Row]:
        """Measure the cost of events for Flower per node, on one cluster with and one without them."""
        with cluster(workers=2, app="bench.loads", events=True) as watched:
            for busy, unit, aim in ((False, "us a node", "<= 50"), (True, "%", "<= 5")):
                params = {"length": 300, "x": 0, "busy": busy}
                for here in (self.here, watched):
                    self.timed(here, self.loads.chain, params)
                pairs = [
                    [self.timed(here, self.loads.chain, params) for here in (self.here, watched)] for _ in range(5)
                ]
                without, with_events = (min(column) for column in zip(*pairs, strict=True))
                extra = (with_events / without - 1) * 100 if busy else (with_events - without) / 300 * 1e6
                yield Row(f"events, {'2 ms' if busy else 'no-op'} nodes, extra", extra, unit, aim)

    def timed(self, here: Cluster, node: Any, params: dict[str, Any]) -> float:
        """Return the seconds from submit to result on one of two clusters."""
        started = time.perf_counter()
        here.client.submit(node, params).result(timeout=600)
        return time.perf_counter() - started

    def latency(self) -> Iterator[Row]:
        """Measure one node, from submit to result."""
        self.once(self.loads.one_node)
        samples = sorted(self.once(self.loads.one_node) for _ in range(50))
        yield Row("submit to result, one node, median", samples[25] * 1e3, "ms")

    def growth(self) -> Iterator[Row]:
        """Measure a node in graphs of 10^2 to 10^5 nodes, with planning measured separately."""
        from dagcelery.client import default_client, plan_of

        client = default_client()
        for nodes in (100, 1_000, 10_000) if self.quick else (100, 1_000, 10_000, 100_000):
            built = self.loads.independent.__dag__(width=nodes - 1)  # and their join
            plan_of(built, queue=client.app_context.app.conf.task_default_queue, settings=client.settings)
            started = time.perf_counter()
            client.submit(built, {"x": 1}).result(timeout=900)
            yield Row(f"cost per node at {nodes:,}", (time.perf_counter() - started) / nodes * 1e6, "us a node", "flat")

    def skew(self) -> Iterator[Row]:
        """Measure one long item among short ones, and a fork with one long branch, against a greedy list schedule."""
        seconds = [0.01] * 100
        seconds[0] = 2.0
        self.once(self.loads.naps, seconds=[0.01] * 10)
        took = self.once(self.loads.naps, seconds=seconds)
        yield Row("100 items, one of 2 s, beyond list schedule", took - list_schedule(seconds, 2), "s", "<= 0.3")
        took = self.once(self.loads.fork, branches=100, long=2.0, short=0.01)
        ideal = list_schedule([2.0] + [0.01] * 100, 2)
        yield Row("fork, one branch of 2 s, beyond list schedule", took - ideal, "s", "<= 0.3")

    def fairness(self) -> Iterator[Row]:
        """Measure a one-node run submitted during a fan-out of 10 ms items."""
        long = self.loads.naps.submit(seconds=[0.01] * (10_000 if self.quick else 100_000))
        time.sleep(3)
        asked = time.time()
        started = self.loads.one_node.submit().result(timeout=60)
        long._control.store.machine.end(long.id, "cancelled", "measured")
        yield Row("one-node run during a fan-out starts after", started - asked, "s", "<= 2")

    def memory(self) -> Iterator[Row]:
        """Measure a lazy reducer over items of 10 KB."""
        n = 10_000 if self.quick else 100_000
        size, kilobytes = self.loads.fat_reduce.submit(n=n).result(timeout=900)
        assert size == n * 10_000, size
        yield Row(f"lazy reducer over {n:,} items of 10 KB, largest memory", kilobytes / 1024, "MB", "< 100")

    def stored(self) -> Iterator[Row]:
        """Measure the memory of a finished run in Redis."""
        server = redis.Redis.from_url(self.here.store_url)
        for n in (10_000, 100_000):
            before = int(server.info("memory")["used_memory"])
            self.loads.map_reduce.submit(n=n).result(timeout=600)
            grown = int(server.info("memory")["used_memory"]) - before
            yield Row(f"Redis bytes an item at {n:,}", grown / n, "bytes")

    def plain_celery(self) -> Iterator[Row]:
        """Measure the same graphs as plain Celery canvas, on the same workers."""
        n, loads = 300 if self.quick else 1_000, self.loads
        header = celery.group(loads.plain_increment.s(x) for x in range(n))
        seconds = timed(celery.chord(header, loads.plain_total.s()))
        yield Row(f"plain Celery chord of {n:,}", seconds / n * 1e6, "us an item")
        links = celery.chain(loads.plain_increment.s(0), *[loads.plain_increment.s() for _ in range(299)])
        yield Row("plain Celery chain of 300", timed(links) / 300 * 1e6, "us a node")

    def imports(self) -> Iterator[Row]:
        """Measure ``from dagcelery import dag, task``."""
        code = "import time; t=time.perf_counter(); from dagcelery import dag, task; print(time.perf_counter()-t)"
        samples = sorted(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5))
        yield Row("import of dag and task, median", samples[2] * 1e3, "ms")


LOADS = (
    "imports",
    "memory",  # the first load of the workers: a process remembers its largest memory
    "map_reduce",
    "chain",
    "stencil",
    "independent",
    "crawl",
    "observed",
    "latency",
    "growth",
    "skew",
    "fairness",
    "stored",
    "plain_celery",
)


def timed(signature: Any) -> float:
    """Return the seconds from sending plain canvas to its result."""
    started = time.perf_counter()
    signature.apply_async().get(timeout=600)
    return time.perf_counter() - started


def list_schedule(seconds: list[float], processes: int) -> float:
    """Return the end of the last of these pieces, if each free process takes the next one in order."""
    free = [0.0] * processes
    for duration in seconds:
        free[free.index(min(free))] += duration
    return max(free)


def main() -> None:
    """Measure the chosen loads, print a table, and write JSON."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller loads, fewer repetitions")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where the figures go as JSON")
    parser.add_argument("--only", action="append", choices=LOADS, help="measure just this; may be repeated")
    options = parser.parse_args()
    rows: list[Row] = []
    console = Console()
    with cluster(workers=2, app="bench.loads") as here:
        bench = Bench(here, options.quick)
        for name in options.only or LOADS:
            measure: Callable[[], Iterator[Row]] = getattr(bench, name)
            for row in measure():
                rows.append(row)
                console.print(f"[dim]{row.load}: {row.value:.3g} {row.unit}[/dim]", highlight=False)
    table = Table("load", "measured", "unit", "aim", title="dagcelery, 2 worker processes, signing on")
    for row in rows:
        table.add_row(row.load, f"{row.value:,.3g}" if row.value < 1000 else f"{row.value:,.0f}", row.unit, row.aim)
    console.print(table)
    options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
