"""What a Celery worker does besides executing messages: it says that it lives, and looks for what was left undone.

Both happen in a thread of the worker's main process: timers of its hub fall silent during broker outages and warm
shutdowns, which is just when they are needed.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import _state, bootsteps, signals
from celery.utils.imports import symbol_by_name
from celery.worker import state
from celery.worker.request import Request

from dagcelery.errors import NotConfigured, StoreUnavailable
from dagcelery.runtime import binding as bindings
from dagcelery.runtime import versions
from dagcelery.runtime.interrupts import is_worker_stopping
from dagcelery.runtime.limits import HARD_SIGNAL
from dagcelery.runtime.logs import show_pieces
from dagcelery.runtime.observer import ENABLED, HOSTNAME
from dagcelery.runtime.paths import search_here
from dagcelery.runtime.reports import lower_own_messages
from dagcelery.runtime.sweeping import look_after, sweep_once
from dagcelery.runtime.telling import quiet_logger
from dagcelery.store.records import Lost

log = quiet_logger(__name__)

_CHILDREN_SECONDS = 1.0


class Prepared(bootsteps.StartStopStep):
    """Makes a worker ready before its children are forked, and refuses one that could not do its work."""

    POOLS = ("celery.concurrency.prefork", "celery.concurrency.thread", "celery.concurrency.solo")

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        _ = bindings.binding_of(worker.app).engine
        pool = worker.pool_cls if isinstance(worker.pool_cls, str) else worker.pool_cls.__module__
        if not pool.startswith(self.POOLS):
            raise NotConfigured(
                f"a worker with the pool '{pool}'",
                "start it with --pool prefork, threads or solo; others are not supported",
            )
        os.environ[bindings.BOOT] = uuid.uuid4().hex[:12]
        if worker.task_events:
            os.environ[ENABLED], os.environ[HOSTNAME] = "1", worker.hostname
        search_here()
        lower_own_messages()
        if _has_our_log(worker.app):
            show_pieces()
        if options.get("beat"):  # `celery worker -B`
            symbol_by_name("dagcelery.schedule.beat:prepare")(worker.app, worker.app.conf.beat_scheduler)
        self._is_watching = False

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Look for dead children every second. The pool does so every five, or when the pipe of a dead one closes;
        but children that were forked later hold that pipe open.
        """
        look = getattr(worker.pool, "maintain_pool", None)
        if look is not None and not self._is_watching:
            self._is_watching = True  # the hub keeps its timers when the consumer reconnects
            hub.call_repeatedly(_CHILDREN_SECONDS, look)


def _has_our_log(app: Any) -> bool:
    """Whether the log is dagcelery's to shape: that of a team's app is the team's."""
    return bool(app is not None and app.main == bindings.OUR_APP)


@signals.worker_process_init.connect(weak=False)
def _begin_child(**_: Any) -> None:
    """A child that is spawned, and not forked, has set up a log of its own."""
    lower_own_messages()
    if _has_our_log(_state.get_current_app()):
        show_pieces()


class Reported(Request):
    """A request whose child died: what it had claimed is given to others at once, without waiting for a sweep."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Runs in the worker's main process."""
        error = exc_info.exception
        found = getattr(error, "exc", error)
        if isinstance(found, WorkerLostError):
            self._give_back(limited=HARD_SIGNAL in str(found))
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        """A hard time limit of the app kills the child; a soft one does not."""
        if not soft:
            self._give_back(limited=False)
        return super().on_timeout(soft, timeout)

    def _give_back(self, *, limited: bool) -> None:
        binding, run_id = bindings.binding_of(self.task.app), self.kwargs.get("run", "")
        process = [f"{os.environ.get(bindings.BOOT)}:{self.worker_pid}"]
        # A worker that is being stopped ends its children; they died of nothing that they did.
        lost = Lost(left=process) if is_worker_stopping() and not limited else Lost(process, limited=limited)
        try:
            look_after(binding, run_id, lost)
        except Exception as error:  # of the store or the broker; a sweep finds what is left undone
            log.warning("a child died: %s", error, extra={"action": "child_lost", "run": run_id})


class Repeated(threading.Thread):
    """Does something every few seconds until it is stopped; an outage of the store or the broker is waited out."""

    def __init__(self, name: str, seconds: float, act: Callable[[], object]) -> None:
        super().__init__(name=name, daemon=True)
        self._seconds = seconds
        self._act = act
        self._over = threading.Event()

    def run(self) -> None:
        """Act, wait, and act again."""
        while not self._over.wait(self._seconds):
            carefully(self._act)

    def stop(self, patience_seconds: float = 2.0) -> None:
        """Act no more."""
        self._over.set()
        self.join(timeout=patience_seconds)


def carefully(act: Callable[[], object]) -> None:
    """Do something that the next time may make good."""
    try:
        act()
    except StoreUnavailable as error:
        log.warning("%s", error, extra={"action": "store_unavailable"})
    except Exception:  # the broker's client raises what its transport raises
        log.exception("a beat failed; the next one tries again", extra={"action": "beat_failed"})


class Keeper:
    """Says every few seconds that its worker lives, and sweeps: in threads apart, since a broker that does not answer
    holds up whoever sends, and must not make this worker look dead.
    """

    def __init__(self, binding: bindings.Binding, boot: str, queues: Sequence[str], slots: int) -> None:
        self._binding = binding
        self._boot, self._queues, self._slots = boot, list(queues), slots
        seconds = binding.settings.alive_seconds
        self._voice = Repeated("dagcelery-alive", seconds, self.announce)
        self._broom = Repeated("dagcelery-sweep", seconds, lambda: sweep_once(binding))

    def start(self) -> None:
        """Announce at once, so that the first run finds the worker; then as long as it lives."""
        carefully(self.announce)
        self._voice.start()
        self._broom.start()

    def announce(self) -> None:
        """Say that the worker lives, and which messages it works on: a claim of another one was lost."""
        messages = [str(request.id) for request in list(state.reserved_requests)]
        self._binding.store.fleet.heartbeat(self._boot, self._queues, self._slots, messages, self._binding.keyring.ids)

    def stop(self) -> None:
        """Leave in good order: what its children had claimed is given back, and counts as no death."""
        self._broom.stop()
        self._voice.stop()
        carefully(lambda: self._binding.store.fleet.retire(self._boot))
        carefully(lambda: sweep_once(self._binding, [self._boot]))


_keepers: list[Keeper] = []


@signals.worker_ready.connect(weak=False)
def _begin(sender: Any = None, **_: Any) -> None:
    binding = bindings.known_binding(sender.app)
    if binding is not None and binding.settings.store_url:
        queues = [queue.name for queue in sender.task_consumer.queues]
        keeper = Keeper(binding, os.environ[bindings.BOOT], queues, sender.controller.concurrency or 1)
        _keepers.append(keeper)
        keeper.start()
        versions.note(sender.app)
        threading.Thread(target=_examine, args=(binding,), name="dagcelery-doctor", daemon=True).start()


def _examine(binding: bindings.Binding) -> None:
    """Say what is seriously wrong around this worker; it starts all the same."""
    tell = symbol_by_name("dagcelery.doctor:tell")  # by name, as it stands above, and costs time to import
    carefully(lambda: tell(binding))


@signals.worker_shutdown.connect(weak=False)
def _retire(sender: Any = None, **_: Any) -> None:
    while _keepers:
        _keepers.pop().stop()
