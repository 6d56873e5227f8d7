"""A worker's main process besides its messages: it sends a heartbeat, and sweeps runs for what is left undone.

Both have a thread each: timers of Celery's hub fall silent during broker outages and warm shutdowns, which is just when
they are needed. The main process also answers, through Celery's remote control, which code it has.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import math
import os
import platform
import re
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from billiard.exceptions import Terminated, WorkerLostError
from celery import Celery, bootsteps, signals
from celery.bootsteps import RUN  # type: ignore[attr-defined]  # missing in the stubs
from celery.concurrency.base import BasePool
from celery.exceptions import WorkerTerminate
from celery.platforms import EX_FAILURE
from celery.utils import log as celery_log
from celery.utils.imports import symbol_by_name
from celery.worker import state
from celery.worker.control import inspect_command
from celery.worker.request import Request
from kombu.asynchronous import set_event_loop

from dagcelery.engine.attempts import HARD_SIGNAL
from dagcelery.engine.interrupts import quiet_logger
from dagcelery.engine.worker_loop import Engine
from dagcelery.errors import DagceleryError, NotConfigured, SpillUnavailable, StoreRefused, StoreUnavailable
from dagcelery.store.protocol import Store
from dagcelery.store.records import TERMINAL, Lost, Swept
from dagcelery.worker.app import (
    COMMAND,
    WORKER_ID,
    AppContext,
    app_context_of,
    find_app_context,
    search_here,
    shapes_log_of,
)
from dagcelery.worker.consumer import lasting
from dagcelery.worker.forks import Undisturbed
from dagcelery.worker.messages import ignored
from dagcelery.worker.process import is_worker_stopping
from dagcelery.worker.signals import ENABLED, HOSTNAME, shape_logs

_noted: dict[int, dict[str, str]] = {}


@inspect_command(name=COMMAND)
def versions(state: Any) -> dict[str, str]:
    """Return versions of dagcelery, Celery and Python, and a hash of the file of each module that this worker names."""
    installed = {name: version(name) for name in ("dagcelery", "celery")}
    return installed | {"python": platform.python_version()} | _noted.get(id(state.app), {})


def note(app: Celery) -> None:
    """Note what the files of an app's modules hold as its worker starts: they may change while it runs."""
    app_context, loader = find_app_context(app), app.loader
    imports = () if app_context is None else app_context.settings.imports
    names = {*imports, *map(str, getattr(loader, "task_modules", ()))}
    digests = {name: _digest(name) for name in sorted(names)}
    _noted[id(app)] = {name: digest for name, digest in digests.items() if digest}


def _digest(name: str) -> str:
    """Return a hash of a module's file, or "" where there is none."""
    try:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.has_location or not spec.origin:
            return ""
        with open(spec.origin, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()[:12]
    except (ImportError, ValueError, OSError):
        return ""


log = quiet_logger(__name__)

_MOST_RUNS = 1000

_FORGOTTEN_SECONDS = 3600.0

_FILES_SECONDS = 3600.0
"""A run's files may be there this long before the run itself is: a submitter writes large parameters first."""


def look_after(app_context: AppContext, run_id: str, lost: Lost, *, is_fresh: bool = False) -> Swept:
    """Sweep one run: give lost claims back, bring workers to ready work, and let poisoned pieces fail."""
    settings, sender = app_context.settings, app_context.sender
    machine = app_context.store.machine
    swept = machine.sweep(run_id, lost, settings.dead_seconds, settings.max_deaths, is_fresh=is_fresh)
    engine = app_context.engine
    if swept.run in TERMINAL:
        engine.ended(run_id, (), swept.run, swept.lasted)
    with engine.leaving_to_sweeps(run_id):
        for queue in swept.wake_ups:
            sender.wake_up(run_id, queue, 1)
        for queue, step in swept.poisoned:
            engine.fail_poisoned(run_id, queue, step)
        if swept.held == "limit":
            engine.try_start(run_id)
    if swept.released:
        about = {"action": "swept", "run": run_id, "released": swept.released}
        pieces = "1 piece" if swept.released == 1 else f"{swept.released} pieces"
        # A crash, a time limit, and a process that a cancelled run ended all look the same from here.
        given_back = "run %s: %s given back, because the process or the worker that ran it has ended"
        log.warning(given_back, run_id, pieces, extra=about)
    return swept


@dataclass
class Looked:
    """What was looked at: how many runs, for which there were so many wake-ups and pieces that were given back."""

    runs: int = 0
    wake_ups: int = 0
    given_back: int = 0


def sweep_once(app_context: AppContext, left: Sequence[str] = ()) -> Looked:
    """Look at the runs that are due, or at more if a worker has `left`."""
    looked = Looked()
    wait_seconds = 0.0 if left else app_context.settings.heartbeat_seconds
    _sweep(app_context, app_context.store.fleet.due(_MOST_RUNS, wait_seconds), _lost(app_context, left), looked)
    sweep_files(app_context.engine)
    return looked


def sweep_all(app_context: AppContext) -> Looked:
    """Look at every active run, whenever it was looked at last, and send a message for all that is ready."""
    looked, began, lost = Looked(), time.monotonic(), _lost(app_context)
    seen: set[str] = set()
    while runs := set(app_context.store.fleet.due(_MOST_RUNS, time.monotonic() - began)) - seen:
        seen |= runs
        _sweep(app_context, sorted(runs), lost, looked, is_fresh=True)
    sweep_files(app_context.engine)
    return looked


def _lost(app_context: AppContext, left: Sequence[str] = ()) -> Lost:
    """Return which workers are dead, have left or live."""
    store, settings = app_context.store, app_context.settings
    workers = store.fleet.workers()
    for worker_id, word in workers.items():
        if word["age"] > _FORGOTTEN_SECONDS:
            store.fleet.retire(worker_id)
    is_judge = all(each.may_judge() for each in _heartbeats if each.is_of(app_context))
    dead = [name for name, word in workers.items() if is_judge and word["age"] >= settings.dead_seconds]
    alive = {
        worker_id: (word["at"], word.get("messages")) for worker_id, word in workers.items() if worker_id not in dead
    }
    since = {worker_id: workers[worker_id].get("since", {}) for worker_id in alive}
    free = {
        worker_id: max(0, workers[worker_id]["slots"] - len(messages))
        for worker_id, (_, messages) in alive.items()
        if messages is not None
    }
    if (own := os.environ.get(WORKER_ID, "")) in free:  # its last word is a while ago
        free[own] = max(0, workers[own]["slots"] - len(state.reserved_requests))
    return Lost(dead, left, alive, since=since, free=free)


def _sweep(app_context: AppContext, runs: Sequence[str], lost: Lost, looked: Looked, *, is_fresh: bool = False) -> None:
    """Sweep runs; one that cannot be swept stops no other. Free processes are named as long as each gets a message."""
    free = sum(lost.free.values())
    for run_id in runs:
        if looked.wake_ups >= free:
            lost = replace(lost, free={})
        try:
            swept = look_after(app_context, run_id, lost, is_fresh=is_fresh)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("run %s could not be swept", run_id, extra={"action": "sweep_failed", "run": run_id})
        else:
            looked.wake_ups += len(swept.wake_ups)
            looked.given_back += swept.released
    looked.runs += len(runs)


def sweep_files(engine: Engine, wait_seconds: float = _FILES_SECONDS) -> None:
    """Remove the files of runs that are gone: deleted while a process still wrote, or expired with their keys.

    A process that dies in between has removed some of them, and the next one removes the rest.
    """
    if engine.spill is None:
        return
    for run_id in engine.store.fleet.spilled(_MOST_RUNS, wait_seconds):
        if engine.store.reader.record(run_id) is None:
            try:
                engine.spill.remove(run_id)
            except SpillUnavailable as error:
                log.warning("run %s: %s", run_id, error, extra={"action": "sweep_failed", "run": run_id})
            else:
                engine.store.fleet.unspilled(run_id)


_CHILDREN_SECONDS = 1.0

PREFORK, THREADS, SOLO = (f"celery.concurrency.{pool}" for pool in ("prefork", "thread", "solo"))


def check(worker: Any) -> None:
    """Raise NotConfigured for a worker that could not do its work."""
    _ = app_context_of(worker.app).engine
    pool, kinds = worker.pool_cls, [kind.__module__ for kind in worker.pool_cls.__mro__]
    if not set(kinds).intersection({PREFORK, THREADS, SOLO}):
        remedy = "start it with --pool prefork, threads or solo"
        raise NotConfigured(f"pieces cannot be executed in the pool {pool.__module__}:{pool.__name__}", remedy)
    if worker.autoscale and PREFORK not in kinds:  # Celery would end it as soon as it has a second message
        remedy = "use --pool prefork, or --concurrency instead of --autoscale"
        raise NotConfigured(f"--autoscale cannot change the pool {pool.__module__}:{pool.__name__}", remedy)


class Prepared(bootsteps.StartStopStep):
    """Makes a worker ready before its children are forked, and refuses one that could not do its work."""

    requires = ("celery.worker.components:Pool",)
    """So that it stops just before the pool does: Celery orders steps that say nothing by chance."""

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        os.environ[WORKER_ID] = _new_id(worker.hostname)
        if worker.task_events:
            os.environ[ENABLED], os.environ[HOSTNAME] = "1", worker.hostname
        try:
            check(worker)  # it makes the engine, which without children is the one that executes pieces
            _refuse_store(app_context_of(worker.app).store)
        except DagceleryError as error:
            if worker.logfile:  # a detached worker has no other output
                log.critical("%s", error, extra={"action": "refused"})
            raise SystemExit(f"Error: {error}") from error  # Celery would show its own start as a traceback
        worker.consumer_cls = lasting(symbol_by_name(worker.consumer_cls))
        for setting, remedy in ignored(worker.app):
            about = {"action": "setting_ignored", "setting": setting}
            log.info("%s does not hold for the nodes of DAGs; %s", setting, remedy, extra=about)
        search_here()
        shape_logs(is_ours=shapes_log_of(worker.app))
        if options.get("beat"):  # `celery worker -B`
            symbol_by_name("dagcelery.worker.beat:prepare")(worker.app, worker.app.conf.beat_scheduler)
        self._is_watching = False

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Look for dead children every second. The pool does so every five, or when the pipe of a dead one closes;
        but children that were forked later hold that pipe open.
        """
        look = getattr(worker.pool, "maintain_pool", None)
        if look is not None and not self._is_watching:
            self._is_watching = True  # the hub keeps its timers when the consumer reconnects
            hub.call_repeatedly(_CHILDREN_SECONDS, look)

    def stop(self, worker: Any) -> None:
        """Let an idle worker stop at once; the consumer has stopped, and the pool is next.

        While a pool stops, Celery (since 5.7) fires the hub's timers in a thread that looks every half a second
        whether it may end. Where nothing is executed they have nothing to serve, and the hub, when it closes, runs
        the acknowledgements that are left.
        """
        if not state.reserved_requests:
            set_event_loop(None)


def _refuse_store(store: Store) -> None:
    """Do not start on a store that somebody must see to; one that is out of reach is waited for."""
    try:
        store.ping()
    except StoreRefused:
        raise
    except StoreUnavailable as error:
        log.warning("%s", error, extra={"action": "store_unavailable"})


def _new_id(hostname: str) -> str:
    """Return an id that tells a worker from those of the same name before it; owners of claims begin with it."""
    name = re.sub(r"[^\w@.+-]", "_", hostname, flags=re.ASCII)
    return f"{name[:80]}~{uuid.uuid4().hex[:8]}"


def _has_children(pool: Any) -> bool:
    """Return whether a pool can end what it executes; Celery's others raise NotImplementedError, in a user's call."""
    return getattr(pool.terminate_job, "__func__", None) is not BasePool.terminate_job


def _is_in_signal() -> bool:
    return bool(vars(celery_log)["_in_sighandler"])


class Reported(Request):
    """A request whose child died: what it had claimed is given to others at once, without waiting for a sweep."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Runs in the worker's main process."""
        error = exc_info.exception
        cause = getattr(error, "exc", error)
        if isinstance(cause, WorkerLostError):
            self._give_back(limited=HARD_SIGNAL in str(cause))
        elif isinstance(cause, Terminated):  # by somebody's order, which revoked the message too
            self._give_back(limited=False, was_ordered=True)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_accepted(self, pid: Any, time_accepted: float) -> None:
        """Take away the pool's time limits, those of ``celery worker --time-limit``, which a message has by default."""
        super().on_accepted(pid, time_accepted)
        reference: Any = getattr(self, "_apply_result", None)
        job = reference and reference()
        # A thread's has neither.
        if getattr(job, "_soft_timeout", None) or getattr(job, "_timeout", None):
            job._soft_timeout = job._timeout = None
            if job._on_timeout_cancel:
                job._on_timeout_cancel(job)

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """End the child that works on this message; a thread, or the process of the pool solo, has none to end."""
        if _has_children(pool):
            super().terminate(pool, signal)

    def cancel(self, pool: Any, signal: Any = None, **options: Any) -> None:  # type: ignore[override]
        """End what works on this message as the worker ends: a child, and in the pool solo the call in this thread,
        which a signal has interrupted. A thread cannot be ended, so the worker waits for it.
        """
        if _has_children(pool):
            super().cancel(pool, signal, **options)
        elif _is_in_signal() and type(pool).__module__ == SOLO:
            raise WorkerTerminate(EX_FAILURE)

    def _give_back(self, *, limited: bool, was_ordered: bool = False) -> None:
        app_context, run_id = app_context_of(self.task.app), self.kwargs.get("run", "")
        process = [f"{os.environ.get(WORKER_ID)}:{self.worker_pid}"]
        # A worker that is being stopped ends its children; they died of nothing that they did.
        was_ordered = was_ordered or (is_worker_stopping() and not limited)
        lost = Lost(left=process) if was_ordered else Lost(process, limited=limited)
        try:
            look_after(app_context, run_id, lost)
        except Exception as error:  # of the store or the broker; a sweep finds what is left undone
            log.warning("a child died: %s", error, extra={"action": "child_lost", "run": run_id})


class Repeated(threading.Thread):
    """Does something every few seconds until it is stopped; an outage of the store or the broker is waited out."""

    def __init__(self, name: str, seconds: float, act: Callable[[], object]) -> None:
        super().__init__(name=name, daemon=True)
        self._seconds = seconds
        self._act = act
        self._over = threading.Event()
        self._undisturbed = Undisturbed()

    def run(self) -> None:
        """Act, wait, and act again."""
        while not self._over.wait(self._seconds):
            with self._undisturbed:
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


def slots_of(worker: Any) -> int | None:
    """Return how many messages are worth sending to a worker at once; None while its pool ends.

    With `--autoscale` these are as many as it may have processes: it starts one for each message that it has no process
    for, so if fewer were sent, it would never grow.
    """
    if worker.autoscaler is not None:
        most: int = worker.autoscaler.max_concurrency
        return most
    try:
        processes: int = worker.pool.num_processes
    except AttributeError:  # as a prefork pool stops, it lets go of what has the number
        return None
    return processes


class Heartbeat:
    """Says every few seconds that its worker lives, and sweeps, in two threads: a broker that does not answer holds up
    the sweep, which sends, and must not make this worker look dead.
    """

    def __init__(self, app_context: AppContext, worker_id: str, consumer: Any) -> None:
        self._app_context = app_context
        self._worker_id, self._consumer, self._queues, self._slots = worker_id, consumer, list[str](), 1
        seconds = app_context.settings.heartbeat_seconds
        dead_seconds = app_context.settings.dead_seconds
        self._gap_seconds = max(1.5 * seconds, dead_seconds - 2 * seconds)
        self._heard_at = self._judges_from = -math.inf
        self._announcing = Repeated("dagcelery-alive", seconds, self.announce)
        self._sweeping = Repeated("dagcelery-sweep", seconds, lambda: sweep_once(app_context))

    def start(self) -> None:
        """Announce at once, so that the first run finds the worker; then as long as it lives."""
        carefully(self.announce)
        self._announcing.start()
        self._sweeping.start()

    def announce(self) -> None:
        """Say that the worker lives, what it consumes, how many messages it has processes for, and on which messages
        it works: a claim of another one was lost.

        All of that changes while a worker runs, by ``celery control`` and `--autoscale`, and is read here from another
        thread: lists are copied, and numbers are what they are at this moment.
        """
        worker, tasks = self._consumer.controller, self._consumer.task_consumer
        self._slots = slots_of(worker) or self._slots
        if worker.blueprint.state != RUN or is_worker_stopping():
            self._queues = []  # it finishes what it has
        elif tasks is not None:  # while a connection is made anew, there is none
            self._queues = [queue.name for queue in list(tasks.queues)]
        messages = [str(request.id) for request in list(state.reserved_requests)]
        self._app_context.store.fleet.heartbeat(
            self._worker_id,
            self._queues,
            self._slots,
            messages,
            self._app_context.keyring.ids,
            yields=self._app_context.later_priority is not None,
        )

        now = time.monotonic()
        if self._heard_at < now - self._gap_seconds and self._heard_at > -math.inf:
            self._judges_from = now + self._app_context.settings.dead_seconds
        self._heard_at = now

    def may_judge(self) -> bool:
        """Return whether the silence of other workers is their own.

        While the store is away nobody is heard. Who comes back first would take all others for dead, and their pieces
        would be charged with it; so it waits as long as they may be silent.
        """
        now = time.monotonic()
        return self._heard_at > now - self._gap_seconds and now >= self._judges_from

    def is_of(self, app_context: AppContext) -> bool:
        """Return whether it tells of the worker of an app."""
        return self._app_context is app_context

    def stop(self) -> None:
        """Leave in good order: the claims of its children are given back, and do not count as deaths."""
        self._sweeping.stop()
        self._announcing.stop()
        carefully(lambda: self._app_context.store.fleet.retire(self._worker_id))
        carefully(lambda: sweep_once(self._app_context, [self._worker_id]))


_heartbeats: list[Heartbeat] = []


@signals.worker_ready.connect(weak=False)
def _begin(sender: Any = None, **_: Any) -> None:
    app_context = find_app_context(sender.app)
    if app_context is not None and app_context.settings.store_url:
        heartbeat = Heartbeat(app_context, os.environ[WORKER_ID], sender)
        _heartbeats.append(heartbeat)
        atexit.register(_retire_at_exit, os.getpid())
        heartbeat.start()
        note(sender.app)
        threading.Thread(target=_examine, args=(app_context,), name="dagcelery-doctor", daemon=True).start()


def _examine(app_context: AppContext) -> None:
    """Say what is seriously wrong around this worker; it starts all the same."""
    with Undisturbed():
        # By name: the doctor is a room above this one, and slow to import.
        log_serious = symbol_by_name("dagcelery.doctor:log_serious")
        carefully(lambda: log_serious(app_context))


@signals.worker_shutdown.connect(weak=False)
def _retire(sender: Any = None, **_: Any) -> None:
    while _heartbeats:
        _heartbeats.pop().stop()


def _retire_at_exit(pid: int) -> None:
    """Leave in good order after a cold stop too, of which no signal of Celery's tells when its pool has ended."""
    if os.getpid() == pid:  # and not a child that was forked since
        _retire()
