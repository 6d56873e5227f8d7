"""Measure, with two worker processes on an embedded server: ``python -m bench [--quick] [--only NAME]``.

Each load is measured beside something in the same minutes: a floor, plain Celery, a bare process, or another library.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from bench import bodies, building, memory, peers, scale, shapes, sharing, small, watching, workflows
from bench.ground import Ground
from bench.rows import WIDTH, Row, table
from dagcelery.local import cluster

LOADS: dict[str, Callable[[Ground], Iterator[Row]]] = {
    "imports": building.imports,
    "reducer": memory.reducer,  # the first load of the workers: a process remembers its largest memory
    "map_reduce": shapes.map_reduce,
    "chain": shapes.chain,
    "side_by_side": shapes.side_by_side,
    "server": shapes.server,
    "overhead": bodies.overhead,
    "efficiency": bodies.efficiency,
    "crawl": shapes.crawl,
    "latency": small.latency,
    "loop": small.loop,
    "left": small.left,
    "building": building.building,
    "status": watching.status,
    "observed": watching.observed,
    "growth": shapes.growth,
    "skew": sharing.skew,
    "fairness": sharing.fairness,
    "workflows": workflows.workflows,
    "stored": memory.stored,
    "many_runs": memory.many_runs,
    "scale": scale.rows,
    "peers": peers.rows,
}


def main() -> None:
    """Measure the chosen loads, print a table, and write JSON."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller loads, fewer repetitions")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where the figures go as JSON")
    parser.add_argument("--only", action="append", choices=LOADS, help="measure just this; may be repeated")
    options = parser.parse_args()
    rows, console = list[Row](), Console(width=WIDTH)
    with cluster(workers=2, app="bench.loads") as here:
        ground = Ground(here, options.quick)
        for name in options.only or LOADS:
            started = time.perf_counter()
            for row in LOADS[name](ground):
                rows.append(row)
                console.print(f"[dim]{row}[/dim]", highlight=False)
            console.print(f"[dim]({name} took {time.perf_counter() - started:.0f} s)[/dim]", highlight=False)
    console.print(table(rows))
    options.json.write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
