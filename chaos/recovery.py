"""How long a death costs with the settings that users get: no time is shortened for the proof's sake."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from chaos import checks
from chaos.graphs import linger
from dagcelery.settings import Settings
from dagcelery.store.keys import Keys
from dagcelery.store.wire import claim_record
from dagcelery.testing import faults
from dagcelery.testing.faults import FaultyCluster, FaultyWorker, children_of

WORK_SECONDS = 1.0
PATIENCE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a death cost: the time from the death, or from when a new worker was up, less the work itself."""

    death: str
    seconds: float
    promised_seconds: float

    @property
    def is_kept(self) -> bool:
        """Whether it took no longer than promised."""
        return self.seconds <= self.promised_seconds


def recoveries() -> list[Recovery]:
    """Kill three times at default settings, side by side."""
    kills: list[tuple[str, int, float, Callable[[FaultyCluster, int], None]]] = [
        ("the only worker", 1, 15.0, _replace),
        ("one of two workers", 2, 15.0, _bury),
        ("a child", 1, 3.0, lambda faulty, pid: os.kill(pid, signal.SIGKILL)),
    ]
    with ThreadPoolExecutor(len(kills)) as pool:
        return list(pool.map(lambda kill: _recovery(*kill), kills))


def _recovery(death: str, workers: int, promised: float, kill: Callable[[FaultyCluster, int], None]) -> Recovery:
    default = Settings()
    times = {
        "DAGCELERY_HEARTBEAT_SECONDS": f"{default.heartbeat_seconds:g}",
        "DAGCELERY_DEAD_SECONDS": f"{default.dead_seconds:g}",
    }
    modules = [linger.__module__]
    with faults.faulty_cluster(workers, 2, environment=times, modules=modules) as faulty:
        run = faulty.client.submit(linger, {"seconds": WORK_SECONDS})
        pid = executing(faulty, run.id)
        kill(faulty, pid)
        started = time.monotonic()
        run.result(timeout=PATIENCE_SECONDS)
        return Recovery(death, time.monotonic() - started - WORK_SECONDS, promised)


def executing(faulty: FaultyCluster, run_id: str) -> int:
    """Wait until a process executes the run's piece; return its id."""
    until = time.monotonic() + PATIENCE_SECONDS
    with closing(checks.raw_client(faulty.local.server.url)) as raw:
        while time.monotonic() < until:
            for piece, claim in raw.hgetall(Keys().run(run_id, "c")).items():
                if piece:
                    return int(claim_record(claim).owner.split(":")[1])
            time.sleep(0.01)
    raise TimeoutError(f"no process claimed a piece of run {run_id}")


def _worker_of(faulty: FaultyCluster, pid: int) -> FaultyWorker:
    return next(worker for worker in faulty.workers if pid in children_of(worker.process.pid))


def _bury(faulty: FaultyCluster, pid: int) -> None:
    faulty.end_worker(_worker_of(faulty, pid))


def _replace(faulty: FaultyCluster, pid: int) -> None:
    _bury(faulty, pid)
    faulty.replenish(1)
