"""Workers as people start them: the `celery` script, in the folder of the user's modules, without PYTHONPATH."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dagcelery.local import Cluster, Process, cluster
from dagcelery.store.keys import Keys
from dagcelery.store.wire import event
from dagcelery.worker.server_urls import for_celery, is_cluster, is_redis, transport_options

from .several_servers import store_client
from .surroundings import CHOSEN, SURROUNDINGS

USERLAND = Path(__file__).parent / "userland"
CELERY = Path(sys.executable).with_name("celery")
BOOT_SECONDS = 60.0


def bare_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what would help workers to find modules or configuration."""
    hidden = ("PYTHONPATH", "DAGCELERY_", "CELERY_")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(hidden)}, **extra}


class Worker:
    """A Celery worker and what it prints."""

    def __init__(self, process: Process, output: int) -> None:
        self.process = process
        self.lines: list[str] = []
        self._is_ready = threading.Event()
        threading.Thread(target=self._read, args=(output,), daemon=True).start()

    @property
    def pid(self) -> int:
        """The main process, whose children execute tasks."""
        return self.process.pid

    def _read(self, output: int) -> None:
        with os.fdopen(output, errors="replace") as lines:
            for line in lines:
                self.lines.append(line.rstrip())
                if " ready." in line:  # in any format
                    self._is_ready.set()
        self._is_ready.set()

    def await_ready(self) -> None:
        """Wait until the worker consumes."""
        assert self._is_ready.wait(BOOT_SECONDS), "the worker takes too long"
        assert self.process.is_alive, "\n".join(self.lines)


class Site:
    """A broker, a store, workers, and a client of them."""

    def __init__(self, local: Cluster) -> None:
        self.cluster = local
        self.client = local.client
        self.workers: dict[str, Worker] = {}

    @property
    def broker_url(self) -> str:
        """Where Celery sends messages; the cluster's own server knows nothing of other surroundings."""
        return self.cluster.environment["DAGCELERY_BROKER_URL"]

    @property
    def store_url(self) -> str:
        """Where runs are remembered."""
        return self.cluster.environment["DAGCELERY_STORE_URL"]

    @property
    def team(self) -> dict[str, str]:
        """What a team's process is told: of dagcelery's addresses only the store's, where their app has no Redis."""
        backend = self.cluster.environment.get("TEAM_BACKEND", self.store_url)
        if is_cluster(backend):
            backend = "rpc://"
        addresses = {"DAGCELERY_BROKER_URL": "", "DAGCELERY_STORE_URL": "" if is_redis(backend) else self.store_url}
        beside = {"broker": transport_options(self.broker_url), "result_backend": transport_options(backend)}
        options = json.dumps({f"{name}_transport_options": each for name, each in beside.items()})
        celerys = {"TEAM_BROKER": for_celery(self.broker_url), "TEAM_BACKEND": for_celery(backend)}
        return {**celerys, "TEAM_OPTIONS": options, **addresses}

    def hire(self, name: str, *options: str, app: str = "dagcelery", env: Mapping[str, str] | None = None) -> Worker:
        """Start a worker without waiting for it."""
        command = [str(CELERY), "-A", app, "worker", "-n", f"{name}@%h", "-l", "INFO", "--without-mingle", *options]
        ours, theirs = os.pipe()
        try:
            process = self.cluster.server.guard.start(
                ["sh", "-c", f"cd {shlex.quote(str(USERLAND))} && exec {shlex.join(command)}"],
                log=theirs,
                environment=bare_environment({**self.cluster.environment, **(env or {})}),
            )
        finally:
            os.close(theirs)
        worker = self.workers[name] = Worker(process, ours)
        return worker

    def await_ready(self) -> None:
        """Wait until all workers consume."""
        for worker in self.workers.values():
            worker.await_ready()

    def await_event(self, run_id: str, kind: str, piece: str = "") -> None:
        """Wait until a run's stream tells of something, such as a piece being "done"."""
        last = b"0"
        with store_client(self.store_url, socket_timeout=BOOT_SECONDS) as raw:
            while True:
                found = raw.xread({Keys().run(run_id, "e"): last}, block=int(BOOT_SECONDS * 1000))
                assert found, f"{run_id} never told of {kind} {piece}"
                for number, fields in found[0][1]:
                    last = number
                    happened = event(number, fields)
                    if happened.kind == kind and happened.piece.startswith(piece):
                        return


@contextmanager
def site() -> Iterator[Site]:
    """A site without workers, in the chosen surroundings."""
    with SURROUNDINGS[CHOSEN]() as addresses, cluster(workers=0, environment=addresses) as local:
        made = Site(local)
        try:
            yield made
        finally:
            for worker in made.workers.values():
                worker.process.ask()
