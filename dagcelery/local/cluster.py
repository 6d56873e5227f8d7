"""A whole installation on this machine while a block runs: a server, Celery workers and a client bound to them.

The workers are real: processes with Celery's prefork pool, which import the user's modules as workers in production do.
Nothing is left behind, however the block, or this process, ends.

Tasks with several taints wait on a queue of their own (planner/plan.py), so a worker that tolerates gpu and ssd
consumes the default queue, ``gpu``, ``ssd`` and ``gpu+ssd``.
"""

from __future__ import annotations

import os
import secrets
import select
import sys
import sysconfig
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, combinations
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dagcelery.errors import DagceleryError, InvalidParameters, InvalidSetting, NotConfigured
from dagcelery.local.guard import Guard, Process, tail
from dagcelery.local.server import Server
from dagcelery.model.options import words
from dagcelery.planner.plan import DEFAULT_QUEUE, queue_for
from dagcelery.settings import PREFIX, Settings

if TYPE_CHECKING:
    from dagcelery.client import Client


KEY_FILE: Final = "signing.key"


def key_of(directory: Path | None) -> str:
    """Return the signing key in a directory, made at its first use; a new key without a directory."""
    if directory is None:
        return secrets.token_hex(32)
    file = directory / KEY_FILE
    if not os.path.lexists(file):
        _make(file)
    try:
        signing_key = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unfit(file, f"cannot be read: {error}") from error
    if not signing_key:
        raise _unfit(file, "is empty")
    return signing_key


def _make(file: Path) -> None:
    """Write a new key atomically; if several processes do so at once, one wins."""
    part = file.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writer:
            writer.write(secrets.token_hex(32) + "\n")
        try:
            os.link(part, file)
        except FileExistsError:
            pass
        finally:
            part.unlink()
    except OSError as error:
        raise _unfit(file, f"cannot be written: {error}") from error


def _unfit(file: Path, problem: str) -> NotConfigured:
    remedy = "let this user read it, or remove it for a new one; data signed with the old one cannot be read then"
    return NotConfigured(f"the signing key in {file} {problem}", remedy)


# Each further toleration doubles the queues: eight make 256, which a Redis broker asks for in each read.
MOST_TOLERATIONS: Final = 8


def tolerated_queues(tolerations: Iterable[str], default: str = "") -> tuple[str, ...]:
    """Return the default queue and one for each set of tolerated taints, small sets first."""
    taints = sorted(set(tolerations))
    if len(taints) > MOST_TOLERATIONS:
        raise InvalidSetting(
            "tolerations",
            f"name {len(taints)} taints, which make {2 ** len(taints)} queues",
            f"tolerate at most {MOST_TOLERATIONS}, or name the queues themselves",
        )
    sets: Iterable[Collection[str]] = chain.from_iterable(combinations(taints, size) for size in range(len(taints) + 1))
    return tuple(queue_for(chosen, default=default or DEFAULT_QUEUE) for chosen in sets)


POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """The options that all workers of a cluster share."""

    environment: Mapping[str, str]
    """Environment variables that are added to this process's own."""
    app: str = "dagcelery"
    """The Celery app, as ``celery -A`` takes it."""
    modules: tuple[str, ...] = ()
    """Modules that are imported before the first task."""
    log: Path | int | None = None
    """A file or an open file descriptor for the output; None means a file that is removed with the cluster."""
    log_level: str = "WARNING"
    """The level of Celery's log."""
    events: bool = False
    """Whether workers send the events that Flower shows."""

    def command(self, name: str, processes: int, queues: Iterable[str]) -> list[str]:
        """Return the app, and the arguments of Celery's command for workers."""
        return [
            *(self.app, "-n", f"{name}@%h", "-l", self.log_level),
            *("-P", "prefork", "-c", str(processes), "-Q", ",".join(queues)),
            *(("-I", ",".join(self.modules)) if self.modules else ()),
            # So that workers do not wait at the start, for a second, to learn of each other.
            *("--without-gossip", "--without-mingle"),
            *(("-E",) if self.events else ("--without-heartbeat",)),
        ]


@contextmanager
def starting(
    guard: Guard, options: WorkerOptions, name: str, processes: int, queues: Iterable[str], timeout: float
) -> Iterator[Process]:
    """Start a worker, run the block while it boots, then wait until it consumes."""
    log = guard.directory / f"{name}.log" if options.log is None else options.log
    ready, reported = os.pipe()
    try:
        try:
            worker = guard.start(
                [
                    *(sys.executable, "-m", "dagcelery.local.ready_worker", str(reported)),
                    *options.command(name, processes, queues),
                ],
                log=log,
                environment=worker_environment({f"{PREFIX}LOG_LEVEL": options.log_level} | dict(options.environment)),
                keep=(reported,),
            )
        finally:
            os.close(reported)
        yield worker
        if not is_reported(ready, lambda: worker.is_alive, timeout):
            worker.kill()
            reason = tail(log) if isinstance(log, Path) else "its output says why"
            raise DagceleryError(f"Celery worker {name} of the local cluster", "did not start", reason)
    finally:
        os.close(ready)


def is_reported(pipe: int, is_alive: Callable[[], bool], timeout: float) -> bool:
    """Wait for a byte on a pipe; return False when its writer has died, or after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    # A dead worker's children may hold the pipe open, so its end is not waited for.
    while is_alive() and time.monotonic() < deadline:
        if select.select([pipe], [], [], POLL_SECONDS)[0]:
            return bool(os.read(pipe, 1))
    return False


def worker_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with its import path and the `extra` variables."""
    # Not CELERY_BROKER_URL and CELERY_RESULT_BACKEND, which win over any configuration.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(import_paths()), **extra}


def import_paths() -> list[str]:
    """Return the part of this process's import path that a worker needs, the working directory first.

    The interpreter's own folders are left out: a worker has them, and a program of another Python that a task starts
    must not get them.
    """
    library = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    here = os.getcwd()
    wanted = [here, *(path or here for path in sys.path if not path.endswith(".zip"))]
    return [path for path in dict.fromkeys(wanted) if not path.startswith(library)]


READY_SECONDS = 60.0

STOP_SECONDS = 5.0


class Cluster:
    """A running local cluster: addresses, key, processes, and a client.

    Its workers consume `queues` by default.
    """

    def __init__(
        self, server: Server, queues: Iterable[str], options: WorkerOptions, directory: Path | None = None
    ) -> None:
        self.server = server
        self.queues = tuple(queues)
        signing_key = options.environment.get(f"{PREFIX}SIGNING_KEY")
        self.signing_key = key_of(directory) if signing_key is None else signing_key
        self._options = replace(options, environment={**self._addresses, **options.environment})
        self._workers: list[Process] = []

    def __repr__(self) -> str:
        return f"<Cluster of {self.server!r}, queues {','.join(self.queues)}, workers {list(self.pids)}>"

    @property
    def broker_url(self) -> str:
        """The broker's address, with the server's password."""
        return self.server.url

    @property
    def store_url(self) -> str:
        """The store's address, with the server's password."""
        return self.server.url

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which another process uses this cluster, including password and key."""
        return dict(self._options.environment)

    @cached_property
    def client(self) -> Client:
        """A client bound to this cluster, with this process's other settings."""
        from dagcelery.client import Client

        return Client(Settings.from_environment({**os.environ, **self.environment}))

    @property
    def workers(self) -> tuple[Process, ...]:
        """The running Celery workers, to be sent signals, stopped or killed."""
        return tuple(worker for worker in self._workers if worker.is_alive)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the running Celery workers, without those of their pools."""
        return tuple(worker.pid for worker in self.workers)

    def start_worker(
        self, processes: int = 1, *, queues: str | Iterable[str] | None = None, timeout: float = READY_SECONDS
    ) -> Process:
        """Start another Celery worker and wait until it consumes; `queues` replace the cluster's own."""
        with self.starting_worker(processes, queues=queues, timeout=timeout) as worker:
            return worker

    @contextmanager
    def starting_worker(
        self, processes: int = 1, *, queues: str | Iterable[str] | None = None, timeout: float = READY_SECONDS
    ) -> Iterator[Process]:
        """Start another Celery worker, run the block while it boots, then wait until it consumes."""
        _check_count("processes", processes, least=1)
        name = f"worker-{len(self._workers) + 1}"
        consumed = self.queues if queues is None else words("queues", queues)
        with starting(self.server.guard, self._options, name, processes, consumed, timeout) as worker:
            self._workers.append(worker)
            yield worker

    def stop_workers(self, grace_seconds: float = STOP_SECONDS) -> None:
        """Stop all workers cleanly, at the same time; kill those that have not ended after the grace period."""
        deadline = time.monotonic() + grace_seconds
        for worker in self.workers:
            worker.ask()
        for worker in self._workers:
            worker.stop(grace_seconds=deadline - time.monotonic())

    @property
    def _addresses(self) -> dict[str, str]:
        return {
            "DAGCELERY_BROKER_URL": self.broker_url,
            "DAGCELERY_STORE_URL": self.store_url,
            "DAGCELERY_SIGNING_KEY": self.signing_key,
        }


@contextmanager
def cluster(
    workers: int = 2,
    taints: str | Iterable[str] = (),
    *,
    queues: str | Iterable[str] = (),
    directory: str | Path | None = None,
    modules: str | Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    app: str = "dagcelery",
    log: str | Path | int | None = None,
    log_level: str = "WARNING",
    events: bool = False,
) -> Iterator[Cluster]:
    """Run an embedded server and a Celery worker of `workers` processes; the block submits to them.

    Args:
        workers: with 0, no worker is started until `Cluster.start_worker`.
        taints: tolerated taints; the worker consumes their queues and the default queue.
        queues: further queues to consume.
        directory: keeps the server's data for the next time, and the signing key unless `environment` has one.
        modules: imported when the worker starts; it finds modules where this process does.
        environment: variables that are added to this process's own.
        app: another Celery app that dagcelery is attached to.
        log: a file or an open file descriptor for the worker's output; None shows it only if no worker starts.
        log_level: the level of Celery's log.
        events: send the events that Flower shows.

    Raises:
        NotConfigured: this machine has no program for a server.
    """
    _check_count("workers", workers, least=0)
    options = WorkerOptions(
        environment=environment or {},
        app=app,
        modules=words("modules", modules),
        log=Path(log) if isinstance(log, str) else log,
        log_level=log_level,
        events=events,
    )
    tolerated = tolerated_queues(words("taints", taints), Settings.from_environment().queue)
    consumed = (*tolerated, *words("queues", queues))
    with ExitStack() as cleanup:
        server = cleanup.enter_context(Server(directory))
        local = Cluster(server, dict.fromkeys(consumed), options, Path(directory) if directory else None)
        cleanup.callback(local.stop_workers)
        with local.starting_worker(workers) if workers else ExitStack():
            # While the worker boots, this process imports what it needs to submit.
            cleanup.enter_context(default_client(local.client))
        yield local


def _check_count(name: str, count: object, *, least: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < least:
        raise InvalidParameters(f"{name}={count!r}", "is not a number of processes", f"give {least} or more")


@contextmanager
def default_client(client: Client) -> Iterator[None]:
    """Make a client the default one while a block runs."""
    from dagcelery.client import set_default

    replaced = set_default(client)
    try:
        yield
    finally:
        set_default(replaced)
