"""What a Celery worker does besides executing messages: it says that it lives, and looks for what was left undone.

Both happen in a thread of the worker's main process: timers of its hub fall silent during broker outages and warm
shutdowns, which is just when they are needed.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import bootsteps, signals
from celery.worker.request import Request

from dagcelery.errors import DagceleryError, NotConfigured, StoreUnavailable
from dagcelery.runtime import binding as bindings
from dagcelery.runtime.observer import ENABLED, HOSTNAME
from dagcelery.settings import Settings
from dagcelery.store.base import Store, Swept

log = logging.getLogger(__name__)

_MOST_RUNS = 1000
_FORGOTTEN_SECONDS = 3600.0


class Prepared(bootsteps.Step):
    """Makes a worker ready before its children are forked, and refuses one that could not do its work."""

    POOLS = ("celery.concurrency.prefork", "celery.concurrency.thread", "celery.concurrency.solo")

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        _ = bindings.binding_of(worker.app).store
        pool = worker.pool_cls if isinstance(worker.pool_cls, str) else worker.pool_cls.__module__
        if not pool.startswith(self.POOLS):
            raise NotConfigured(
                f"a worker with the pool '{pool}'",
                "start it with --pool prefork, threads or solo; others are not supported",
            )
        os.environ[bindings.BOOT] = uuid.uuid4().hex[:12]
        if worker.task_events:
            os.environ[ENABLED], os.environ[HOSTNAME] = "1", worker.hostname
        here = os.getcwd()
        if here not in sys.path and "" not in sys.path:
            sys.path.insert(0, here)  # as `python -m celery` does: users' modules stand beside the working directory


class Reported(Request):
    """A request whose child died: what it had claimed is given to others at once, without waiting for a sweep."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Runs in the worker's main process."""
        error = exc_info.exception
        if isinstance(getattr(error, "exc", error), WorkerLostError):
            self._give_back()
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        """A hard time limit of the app kills the child; a soft one does not."""
        if not soft:
            self._give_back()
        return super().on_timeout(soft, timeout)

    def _give_back(self) -> None:
        binding, run_id = bindings.binding_of(self.task.app), self.kwargs.get("run", "")
        lost = f"{os.environ.get(bindings.BOOT)}:{self.worker_pid}"
        try:
            swept = binding.store.sweep(run_id, [lost], binding.settings.dead_seconds)
            for queue in swept.hints:
                binding.sender.visit(run_id, queue, 1)
        except DagceleryError as error:
            log.warning("a child died: %s", error, extra={"action": "child_lost", "run": run_id})


def sweep_once(store: Store, settings: Settings, visit: Callable[[str, str, int], None]) -> Iterator[tuple[str, Swept]]:
    """Look at the runs that are due: give back what the dead had claimed, and send one visit for each queue that
    has ready work which nobody may know of.
    """
    workers = store.workers()
    for boot, word in workers.items():
        if word["age"] > _FORGOTTEN_SECONDS:
            store.retire(boot)
    dead = [boot for boot, word in workers.items() if word["age"] >= settings.dead_seconds]
    alive = [boot for boot in workers if boot not in dead]
    for run_id in store.due(_MOST_RUNS, settings.alive_seconds):
        swept = store.sweep(run_id, dead, settings.dead_seconds, alive)
        for queue in swept.hints:
            visit(run_id, queue, 1)
        yield run_id, swept


class Keeper(threading.Thread):
    """Says every few seconds that its worker lives, and sweeps."""

    def __init__(self, binding: bindings.Binding, boot: str, queues: Sequence[str], slots: int) -> None:
        super().__init__(name="dagcelery-keeper", daemon=True)
        self._binding = binding
        self._word = (boot, list(queues), slots)
        self._over = threading.Event()

    def announce(self) -> None:
        """Say that the worker lives; once before the thread starts, so that the first run finds it."""
        self._carefully(lambda: self._binding.store.announce(*self._word))

    def run(self) -> None:
        """Announce and sweep until stopped; an outage of the store or the broker is waited out."""
        while not self._over.wait(self._binding.settings.alive_seconds):
            self._carefully(self._beat)
        self._carefully(lambda: self._binding.store.retire(self._word[0]))

    def stop(self) -> None:
        """Leave in good order."""
        self._over.set()
        self.join(timeout=2.0)

    def _beat(self) -> None:
        binding = self._binding
        binding.store.announce(*self._word)
        for run_id, swept in sweep_once(binding.store, binding.settings, binding.sender.visit):
            if swept.released:
                log.warning(
                    "run %s: %d pieces of dead workers were given back",
                    run_id,
                    swept.released,
                    extra={"action": "swept", "run": run_id},
                )

    def _carefully(self, act: Callable[[], None]) -> None:
        try:
            act()
        except StoreUnavailable as error:
            log.warning("%s", error, extra={"action": "store_unavailable"})
        except Exception:  # the broker's client raises what its transport raises
            log.exception("a beat failed; the next one tries again", extra={"action": "beat_failed"})


_keepers: list[Keeper] = []


@signals.worker_ready.connect(weak=False)
def _begin(sender: Any = None, **_: Any) -> None:
    binding = bindings.known_binding(sender.app)
    if binding is not None and binding.settings.store_url:
        queues = [queue.name for queue in sender.task_consumer.queues]
        keeper = Keeper(binding, os.environ[bindings.BOOT], queues, sender.controller.concurrency or 1)
        _keepers.append(keeper)
        keeper.announce()
        keeper.start()


@signals.worker_shutdown.connect(weak=False)
def _retire(sender: Any = None, **_: Any) -> None:
    while _keepers:
        _keepers.pop().stop()
