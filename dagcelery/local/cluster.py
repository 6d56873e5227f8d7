"""A whole installation on this machine while a block runs: server, Celery workers, a client bound to them.

The workers are real: processes of their own with Celery's prefork pool, which import the user's modules as
workers in production do. Nothing is left behind, however the block, or this process, ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dagcelery.errors import InvalidParameters
from dagcelery.local.keys import key_of
from dagcelery.local.processes import Process
from dagcelery.local.queues import tolerated_queues
from dagcelery.local.server import Server
from dagcelery.local.workers import WorkerOptions, starting
from dagcelery.model.options import words
from dagcelery.settings import PREFIX, Settings

if TYPE_CHECKING:
    from dagcelery.client import Client

READY_SECONDS = 60.0
STOP_SECONDS = 5.0


class Cluster:
    """A running local cluster: addresses, key, processes, and a client.

    `queues` are those that its workers consume unless told otherwise.
    """

    def __init__(
        self, server: Server, queues: Iterable[str], options: WorkerOptions, directory: Path | None = None
    ) -> None:
        self.server = server
        self.queues = tuple(queues)
        given = options.environment.get(f"{PREFIX}SIGNING_KEY")
        self.signing_key = key_of(directory) if given is None else given
        self._options = replace(options, environment={**self._addresses, **options.environment})
        self._workers: list[Process] = []

    def __repr__(self) -> str:
        return f"<Cluster of {self.server!r}, queues {','.join(self.queues)}, workers {list(self.pids)}>"

    @property
    def broker_url(self) -> str:
        """The broker's address; it contains the server's password."""
        return self.server.url

    @property
    def store_url(self) -> str:
        """The store's address; it contains the server's password."""
        return self.server.url

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make another process use this cluster; password and key are among them."""
        return dict(self._options.environment)

    @cached_property
    def client(self) -> Client:
        """A client bound to this cluster, with this process's other settings."""
        from dagcelery.client import Client

        return Client(Settings.from_environment({**os.environ, **self.environment}))

    @property
    def workers(self) -> tuple[Process, ...]:
        """The Celery workers that run now, to be sent signals, stopped or killed."""
        return tuple(worker for worker in self._workers if worker.is_alive)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the Celery workers that run now; those of their pools are not among them."""
        return tuple(worker.pid for worker in self.workers)

    def start_worker(
        self, processes: int = 1, *, queues: str | Iterable[str] | None = None, timeout: float = READY_SECONDS
    ) -> Process:
        """Start one more Celery worker and wait until it consumes; `queues` replace the cluster's own."""
        with self.starting_worker(processes, queues=queues, timeout=timeout) as worker:
            return worker

    @contextmanager
    def starting_worker(
        self, processes: int = 1, *, queues: str | Iterable[str] | None = None, timeout: float = READY_SECONDS
    ) -> Iterator[Process]:
        """`start_worker` as a block that runs while the worker boots; its end waits for the worker."""
        _check_count("processes", processes, least=1)
        name = f"worker-{len(self._workers) + 1}"
        consumed = self.queues if queues is None else words("queues", queues)
        with starting(self.server.guard, self._options, name, processes, consumed, timeout) as worker:
            self._workers.append(worker)
            yield worker

    def stop_workers(self, grace_seconds: float = STOP_SECONDS) -> None:
        """Stop all workers in order and at the same time; kill those that have not ended after the grace."""
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

    The worker consumes the default queue, those of the tolerated `taints`, and `queues`. It finds modules
    where this process does, imports `modules` at once, and sees `environment` on top of this process's.
    `directory` keeps what the server remembers for the next time, and the key that it was signed with, unless
    `environment` says DAGCELERY_SIGNING_KEY. `log` is a file, or an open file
    descriptor, for the worker's output; without it the output is shown only if the worker cannot start.
    `app` names another Celery app that dagcelery is attached to; `events` lets Flower watch.
    With 0 `workers`, `Cluster.start_worker` starts others. Raises NotConfigured where there is no server.
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
            # While the worker boots this process imports what it needs to submit.
            cleanup.enter_context(default_client(local.client))
        yield local


def _check_count(name: str, given: object, *, least: int) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise InvalidParameters(f"{name}={given!r}", "is not a number of processes", f"give {least} or more")


@contextmanager
def default_client(client: Client) -> Iterator[None]:
    """Make a client the default one for the length of a block."""
    from dagcelery.client import set_default

    replaced = set_default(client)
    try:
        yield
    finally:
        set_default(replaced)
