"""How long a death costs with the settings that users get: nobody has chosen shorter times for the proof's sake."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from dagcelery.settings import Settings
from dagcelery.store.keys import key
from dagcelery.store.wire import claim_record
from dagcelery.testing import faults
from dagcelery.testing.chaos import checks
from dagcelery.testing.chaos.graphs import linger
from dagcelery.testing.faults import Arena, Member, children_of

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
    kills: list[tuple[str, int, float, Callable[[Arena, int], None]]] = [
        ("the only worker", 1, 15.0, _replace),
        ("one of two workers", 2, 15.0, _bury),
        ("a child", 1, 3.0, lambda arena, pid: os.kill(pid, signal.SIGKILL)),
    ]
    with ThreadPoolExecutor(len(kills)) as pool:
        return list(pool.map(lambda kill: _recovery(*kill), kills))


def _recovery(death: str, workers: int, promised: float, kill: Callable[[Arena, int], None]) -> Recovery:
    default = Settings()
    times = {
        "DAGCELERY_HEARTBEAT_SECONDS": f"{default.heartbeat_seconds:g}",
        "DAGCELERY_DEAD_SECONDS": f"{default.dead_seconds:g}",
    }
    modules = [linger.__module__]
    with faults.arena(workers, 2, environment=times, modules=modules) as arena:
        run = arena.client.submit(linger, {"seconds": WORK_SECONDS})
        pid = executing(arena, run.id)
        kill(arena, pid)
        started = time.monotonic()
        run.result(timeout=PATIENCE_SECONDS)
        return Recovery(death, time.monotonic() - started - WORK_SECONDS, promised)


def executing(arena: Arena, run_id: str) -> int:
    """Wait until a process executes the run's piece; answer which."""
    until = time.monotonic() + PATIENCE_SECONDS
    with closing(checks.raw_client(arena.local.server.url)) as raw:
        while time.monotonic() < until:
            for piece, claim in raw.hgetall(key(run_id, "c")).items():
                if piece:
                    return int(claim_record(claim).owner.split(":")[1])
            time.sleep(0.01)
    raise TimeoutError(f"nobody claimed a piece of run {run_id}")


def _worker_of(arena: Arena, pid: int) -> Member:
    return next(member for member in arena.members if pid in children_of(member.process.pid))


def _bury(arena: Arena, pid: int) -> None:
    arena.end_worker(_worker_of(arena, pid))


def _replace(arena: Arena, pid: int) -> None:
    _bury(arena, pid)
    arena.replenish(1)
