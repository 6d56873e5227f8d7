"""Starts Celery workers as child processes, which find the modules that this process finds."""

from __future__ import annotations

import os
import select
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dagcelery.errors import DagceleryError
from dagcelery.local.processes import Guard, Process, tail
from dagcelery.settings import PREFIX

POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """What all workers of a cluster have in common."""

    environment: Mapping[str, str]
    """Variables on top of this process's own."""
    app: str = "dagcelery"
    """The Celery app, as ``celery -A`` takes it."""
    modules: tuple[str, ...] = ()
    """Modules that are imported before the first task."""
    log: Path | int | None = None
    """Where output goes: a file, or an open file descriptor; None means a file that goes with the cluster."""
    log_level: str = "WARNING"
    """The least level of Celery's log that is written."""
    events: bool = False
    """Whether workers send the events that Flower shows."""

    def command(self, name: str, processes: int, queues: Iterable[str]) -> list[str]:
        """Celery's command line for a worker."""
        return [
            *("-q", "-A", self.app, "worker", "-n", f"{name}@%h", "-l", self.log_level),
            *("-P", "prefork", "-c", str(processes), "-Q", ",".join(queues)),
            *(("-I", ",".join(self.modules)) if self.modules else ()),
            # Without these workers do not get to know each other at the start, which takes a second.
            *("--without-gossip", "--without-mingle"),
            *(("-E",) if self.events else ("--without-heartbeat",)),
        ]


@contextmanager
def starting(
    guard: Guard, options: WorkerOptions, name: str, processes: int, queues: Iterable[str], timeout: float
) -> Iterator[Process]:
    """Start a worker, run the block while it boots, then wait until it consumes."""
    log = guard.directory / f"{name}.log" if options.log is None else options.log
    told, tell = os.pipe()
    try:
        try:
            worker = guard.start(
                [
                    sys.executable,
                    "-m",
                    "dagcelery.local.worker",
                    str(tell),
                    *options.command(name, processes, queues),
                ],
                log=log,
                environment=worker_environment({f"{PREFIX}LOG_LEVEL": options.log_level} | dict(options.environment)),
                keep=(tell,),
            )
        finally:
            os.close(tell)
        yield worker
        if not is_told(told, lambda: worker.is_alive, timeout):
            worker.kill()
            why = tail(log) if isinstance(log, Path) else "its output says why"
            raise DagceleryError(f"Celery worker {name} of the local cluster", "did not start", why)
    finally:
        os.close(told)


def is_told(pipe: int, is_alive: Callable[[], bool], timeout: float) -> bool:
    """Wait for a byte on a pipe; give up when its writer has died, or after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    # A dead worker's children may hold the pipe open, so its end cannot be waited for.
    while is_alive() and time.monotonic() < deadline:
        if select.select([pipe], [], [], POLL_SECONDS)[0]:
            return bool(os.read(pipe, 1))
    return False


def worker_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with its import path and `extra`."""
    # Celery lets CELERY_BROKER_URL and CELERY_RESULT_BACKEND win over any configuration.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(import_paths()), **extra}


def import_paths() -> list[str]:
    """Return what a worker needs of this process's import path, the working directory first.

    The interpreter's own folders are left out: a worker has them already, and a program of another Python
    that a task starts must not get them.
    """
    library = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    here = os.getcwd()
    wanted = [here, *(path or here for path in sys.path if not path.endswith(".zip"))]
    return [path for path in dict.fromkeys(wanted) if not path.startswith(library)]
