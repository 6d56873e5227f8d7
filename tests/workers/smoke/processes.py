"""What pytest-celery takes for containers, on plain processes: a server and workers of this machine."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pytest_celery import CeleryTestContainer

from dagcelery.local import Cluster, cluster


class ProcessContainer(CeleryTestContainer):
    """The part of a container's interface that pytest-celery's nodes use; there is no container behind it."""

    def __init__(self, name: str) -> None:
        self._named = name
        self._number = secrets.token_hex(6)

    @property
    def name(self) -> str:
        return self._named

    @property
    def id(self) -> str:
        return self._number

    def ready(self) -> bool:
        return self.status == "running"

    def reload(self) -> None:
        """What is asked is found out each time."""


class ServerProcess(ProcessContainer):
    """An embedded server, which keeps its data and its port when it is started again."""

    def __init__(self, local: Cluster) -> None:
        super().__init__("redis")
        self._server = local.server

    @property
    def status(self) -> str:
        return "running" if self._server.is_up else "exited"

    @property
    def celeryconfig(self) -> dict[str, Any]:
        url = self._server.url
        return {"url": url, "host_url": url, "hostname": "127.0.0.1", "port": urlsplit(url).port, "vhost": "0"}

    def kill(self, signal: str | int | None = None) -> None:
        self._server.kill()

    def restart(self, timeout: int = 10) -> None:
        self._server.stop()
        self._server.start()

    def logs(self) -> str:
        return (self._server.guard.directory / "server.log").read_text()


class WorkerProcess(ProcessContainer):
    """A Celery worker that consumes one queue with one process."""

    def __init__(self, local: Cluster, queue: str, log: Path) -> None:
        super().__init__(queue)
        self._local = local
        self._log = log

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Run a block while the worker boots; its end waits for the worker."""
        with self._local.starting_worker(1, queues=[self.name]) as self._process:
            yield

    @property
    def status(self) -> str:
        return "running" if self._process.is_alive else "exited"

    def kill(self, signal: str | int | None = None) -> None:
        if signal in (None, "SIGKILL"):
            self._process.kill()
        else:
            self._process.send(number_of(signal))

    def restart(self, timeout: int = 10) -> None:
        self._process.stop(grace_seconds=timeout)
        with self.starting():
            pass

    def logs(self) -> str:
        return self._log.read_text()


def number_of(name: str | int | None) -> int:
    """A signal's number, by name or by number."""
    return signal.Signals[name].value if isinstance(name, str) else int(name or signal.SIGKILL)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both workers log."""
    return tmp_path_factory.mktemp("smoke") / "workers.log"


@pytest.fixture(scope="module")
def local(log: Path, quick: dict[str, str], signing_key: str) -> Iterator[Cluster]:
    """A server, and an environment for workers that are to be started."""
    environment = quick | {"DAGCELERY_SIGNING_KEY": signing_key}
    with cluster(workers=0, environment=environment, log=log) as made:
        yield made


@pytest.fixture(scope="module")
def server(local: Cluster) -> ServerProcess:
    """The broker, which is the store and the result backend too."""
    return ServerProcess(local)


@pytest.fixture(scope="module")
def workers(local: Cluster, log: Path) -> list[WorkerProcess]:
    """A worker for untainted work, and one for what is tainted gpu."""
    made = [WorkerProcess(local, queue, log) for queue in ("celery", "gpu")]
    with ExitStack() as booting:
        for each in made:
            booting.enter_context(each.starting())
    return made
