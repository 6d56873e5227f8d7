"""The same graphs in Ray, Dask and DBOS, which the extra ``bench-peers`` installs; what is missing is said to be.

``python -m bench.peers NAME`` measures one of them and prints its figures as JSON. Each runs in a process of its own,
which has ended before ours are measured, since the peers' processes compute even when they are idle.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench import bodies
from bench.ground import Ground, spin
from bench.rows import Row
from bench.shapes import CHAIN, NARROW, STENCIL, WIDE, no_op

METG = "METG (50 %)"
LENGTHS_MS = (10.0, 5.0, 2.0, 1.0, 0.5)
MODULES = {"Ray": "ray", "Dask": "distributed", "DBOS": "dbos"}
GOALS = {
    "Ray": {CHAIN: "<= 1/8 x", METG: "<= 1/3 x"} | dict.fromkeys((STENCIL, NARROW, WIDE), "<= 1/5 x"),
}
TIMEOUT_SECONDS = 150


def rows(ground: Ground) -> Iterator[Row]:
    """Measure each peer that is installed, and ours behind it."""
    graphs = no_op(ground)

    def ours(name: str) -> float:
        nodes, node, params = graphs[name]
        return ground.seconds(node, times=2, **params) / nodes * 1e6

    found = {peer: asked(peer) if importlib.util.find_spec(module) else {} for peer, module in MODULES.items()}
    for peer, figures in found.items():
        goals = GOALS.get(peer, {})
        for name, theirs in figures.items():
            if name == METG:
                yield Row(f"{METG} of a stencil", ours_metg(ground) * 1e3, "ms", goals[name], peer, theirs)
            else:
                yield Row(name, ours(name), "us a node", goals.get(name, ""), peer, theirs)
    missing = [peer for peer, figures in found.items() if not figures]
    if missing:
        yield Row(CHAIN, ours(CHAIN), "us a node", beside=", ".join(missing))


def asked(peer: str) -> dict[str, float]:
    """Return the figures of a peer; none, after what it prints, if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": os.getcwd(), "BENCH_FOLDER": folder}
        command = [sys.executable, "-W", "ignore", "-m", "bench.peers", peer]
        try:
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_SECONDS, check=True
            )
        except subprocess.SubprocessError as error:
            print(f"{peer} could not be measured: {error}", file=sys.stderr)
            return {}
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def ours_metg(ground: Ground) -> float:
    """Return the METG of our stencil."""
    took = bodies.stencil_on(ground)

    def least(seconds: float, steps: int) -> float:
        took(seconds, 10)
        return min(took(seconds, steps) for _ in range(2))

    return bodies.metg([(ms / 1000, 1 / bodies.slowdown(ms, least)) for ms in (*LENGTHS_MS, 0.25)])


# -- in the peer's own process -------------------------------------------------------------------
def increment(x: int) -> int:
    """Do nothing to speak of."""
    return x + 1


def cell(a: int, b: int, c: int) -> int:
    """Need three."""
    return (a + b + c) % 1000


def busy_cell(a: int, b: int, c: int, seconds: float) -> int:
    """Need three, and a processor for so long."""
    spin(seconds)
    return (a + b + c) % 1000


def total(*xs: int) -> int:
    """Need all."""
    return sum(xs)


Call = Callable[..., Any]
"""``call(function, *arguments)`` starts a function on values and on what earlier calls gave, and gives a future."""


def chain(call: Call, length: int) -> Any:
    """Start one after the other."""
    x: Any = 0
    for _ in range(length):
        x = call(increment, x)
    return x


def stencil(call: Call, width: int, steps: int, seconds: float = 0.0) -> Any:
    """Start rows, of which each needs three of the one before."""
    row = [call(increment, 0) for _ in range(width)]
    for _ in range(steps - 1):
        around = [(row[max(0, i - 1)], row[i], row[min(width - 1, i + 1)]) for i in range(width)]
        row = [call(busy_cell, *three, seconds) if seconds else call(cell, *three) for three in around]
    return call(total, *row)


def measured(call: Call, wait: Callable[[Any], Any], *, with_bodies: bool) -> dict[str, float]:
    """Measure all graphs with what a peer has to start and to wait; `with_bodies` also how short these may be."""
    graphs: dict[str, tuple[int, Callable[[], Any]]] = {
        CHAIN: (300, lambda: chain(call, 300)),
        STENCIL: (960, lambda: stencil(call, 32, 30)),
        NARROW: (800, lambda: stencil(call, 8, 100)),
        WIDE: (1001, lambda: call(total, *[call(increment, 1) for _ in range(1000)])),
    }

    def seconds(start: Callable[[], Any]) -> float:
        wait(start())
        return timed(lambda: wait(start()))

    figures = {name: seconds(start) / nodes * 1e6 for name, (nodes, start) in graphs.items()}

    if not with_bodies:
        return figures

    def took(length: float, steps: int) -> float:
        return seconds(lambda: stencil(call, bodies.WIDTH, steps, length))

    return figures | {METG: bodies.metg([(ms / 1000, 1 / bodies.slowdown(ms, took)) for ms in LENGTHS_MS]) * 1e3}


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def ray() -> dict[str, float]:
    """Measure Ray on two processes of this machine."""
    import ray as peer

    peer.init(num_cpus=bodies.PROCESSES, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    remotes = {function: peer.remote(function) for function in (increment, cell, busy_cell, total)}
    figures = measured(lambda function, *given: remotes[function].remote(*given), peer.get, with_bodies=True)
    peer.shutdown()
    return figures


def dask() -> dict[str, float]:
    """Measure Dask on two processes of this machine."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=bodies.PROCESSES, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        return measured(partial(client.submit, pure=False), lambda last: last.result(), with_bodies=False)


def dbos() -> dict[str, float]:
    """Measure steps of a DBOS workflow, in SQLite; DBOS_SYSTEM_DATABASE_URL names another database."""
    from dbos import DBOS

    url = os.environ.get("DBOS_SYSTEM_DATABASE_URL", f"sqlite:///{Path(os.environ['BENCH_FOLDER']) / 'dbos.sqlite'}")
    DBOS(config={"name": "bench", "system_database_url": url, "run_admin_server": False, "log_level": "ERROR"})
    step = DBOS.step()(increment)

    def linked(length: int) -> Any:
        return chain(lambda _, x: step(x), length)

    steps = DBOS.workflow()(linked)
    DBOS.launch()
    steps(10)
    figures = {CHAIN: min(timed(lambda: steps(300)) for _ in range(2)) / 300 * 1e6}
    DBOS.destroy()
    return figures


if __name__ == "__main__":
    print(json.dumps({"Ray": ray, "Dask": dask, "DBOS": dbos}[sys.argv[1]]()))
