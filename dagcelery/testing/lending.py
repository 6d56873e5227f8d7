"""What the plug-in's fixtures lend to tests: a client that runs all in this process, and clusters that tests share.

An eager client's runs are over when `submit` returns: they run here, on a store in memory. A cluster serves one test
after the other: it is started once, repaired and emptied after each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from dagcelery.client import Client, Run, set_default
from dagcelery.errors import RunNotFound
from dagcelery.local import Cluster, cluster
from dagcelery.local.cluster import default_client
from dagcelery.settings import Settings
from dagcelery.store.cache import OF_THIS_PROCESS

if TYPE_CHECKING:
    from dagcelery.testing import faults
    from dagcelery.worker.app import AppContext


class EagerClient(Client):
    """A client on an app of its own that is always eager; Celery is imported when something is submitted."""

    @property
    def app_context(self) -> AppContext:
        """Our tasks on the app."""
        app_context = super().app_context
        app_context.app.conf.task_always_eager = True
        return app_context


def eager_client() -> EagerClient:
    """A client with this process's settings, but for the addresses: nothing is sent or remembered anywhere."""
    return EagerClient(Settings.from_environment(broker_url="memory://", store_url=""))


@contextmanager
def in_process() -> Iterator[EagerClient]:
    """Make an eager client the default one while a block runs, which finds no results that tasks had kept before."""
    OF_THIS_PROCESS.clear()
    client = eager_client()
    with default_client(client):
        yield client


PROCESSES = 2
"""How many processes a cluster has, and how many workers a faulty cluster, by default."""
BINDINGS = "_kombu.binding."
"""What Celery's Redis transport keeps of queues. Workers write it once, when they start to consume."""


class SharedCluster:
    """A local cluster that is as new for each test."""

    def __init__(self, local: Cluster, processes: int) -> None:
        self._local = local
        self._processes = processes
        self._own = local.workers

    @contextmanager
    def lent(self) -> Iterator[Cluster]:
        """Lend it while a block runs, as the default client's; what the block did to it is undone."""
        with default_client(self._local.client):
            yield self._local
        self._local.server.start()
        self._restore_workers()
        forget(self._local)

    def _restore_workers(self) -> None:
        for worker in self._local.workers:
            if worker not in self._own:
                worker.stop()
        if self._own and not all(worker.is_alive for worker in self._own):
            self._own = (self._local.start_worker(self._processes),)


class SharedFaultyCluster:
    """A faulty cluster that is as new for each test."""

    def __init__(self, faulty: faults.FaultyCluster, workers: int) -> None:
        self._faulty = faulty
        self._workers = workers

    @contextmanager
    def lent(self) -> Iterator[faults.FaultyCluster]:
        """Lend it while a block runs, as the default client's; what the block did to it is undone."""
        faulty = self._faulty
        with default_client(faulty.client):
            yield faulty
        faulty.ledger.withdraw()
        faulty.local.server.start()
        for worker in faulty.workers[self._workers :]:
            faulty.end_worker(worker)
        faulty.replenish(self._workers)
        forget(faulty.local)


@contextmanager
def shared_cluster(workers: int = PROCESSES, **options: Any) -> Iterator[SharedCluster]:
    """Start a local cluster for many tests; the arguments are those of `local.cluster`."""
    before = _default()
    with cluster(workers, **options) as local:
        set_default(before)
        yield SharedCluster(local, workers)


@contextmanager
def shared_faulty_cluster(workers: int = PROCESSES, **options: Any) -> Iterator[SharedFaultyCluster]:
    """Start a faulty cluster for many tests; the arguments are those of `faults.faulty_cluster`."""
    from dagcelery.testing import faults  # late, like redis below: an eager client needs neither

    before = _default()
    with faults.faulty_cluster(workers, **options) as faulty:
        set_default(before)
        yield SharedFaultyCluster(faulty, workers)


def _default() -> Client | None:
    """The default client, which is not made where there is none."""
    client = set_default(None)
    set_default(client)
    return client


def forget(local: Cluster) -> None:
    """End what runs on a cluster, with the processes that work on it, and empty its server."""
    import redis

    keys = local.client.store.server.keys
    with redis.Redis.from_url(local.store_url, decode_responses=True) as server:
        for run_id in server.zrange(keys.active, 0, -1):
            with suppress(RunNotFound):
                Run(run_id, client=local.client).cancel("its test is over", terminate=True)
        for name in server.scan_iter(count=1000):
            if name != keys.workers and not name.startswith(BINDINGS):
                server.unlink(name)
