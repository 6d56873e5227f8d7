"""The engine: a message brings a worker to a run, where it claims, executes and finishes pieces until none is ready.

It speaks to the store, and to a `Sender` for messages; it knows neither Celery nor Redis, so `invoke` and eager mode
run the same engine.

Who must tell others of ready work? Whoever made it ready, or leaves it ready behind. While a visit runs pieces that
are known to be short it tells others every heartbeat; before one that is not, at once; and if one overruns, a timer
thread does. So no ready piece waits longer than a heartbeat and a message while a worker is free.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from dagcelery.errors import DagceleryError, RunNotFound, StoreUnavailable
from dagcelery.payload import addresses, values
from dagcelery.payload.signing import Keyring
from dagcelery.payload.values import Limits
from dagcelery.planner.plan import Plan
from dagcelery.runtime.calls import Listener
from dagcelery.runtime.durations import Durations
from dagcelery.runtime.execution import Executed, Executor
from dagcelery.runtime.program import Program
from dagcelery.runtime.reading import RunView
from dagcelery.runtime.watch import Watch
from dagcelery.settings import Settings
from dagcelery.store.base import HOOK, TERMINAL, Grant, Opened, Reply, Store, Want

log = logging.getLogger(__name__)


class Sender(Protocol):
    """Brings workers to a run."""

    def start(self, view: RunView, opened: Sequence[Opened]) -> None:
        """Send what these steps need: chords, chains, or plain visits."""

    def visit(self, run_id: str, queue: str, count: int, delay_seconds: float = 0.0) -> None:
        """Send `count` messages that there is ready work of a run on a queue, to arrive after `delay_seconds`."""

    def slots(self, queue: str) -> int:
        """How many processes consume a queue, at least 1."""

    def revoke(self, messages: Sequence[str], *, terminate: bool) -> None:
        """Take back messages that have not been begun; `terminate` the processes of those that have."""


class Observer(Protocol):
    """Is told of each piece, so that Celery's events and signals can be fired."""

    def listener(self, view: RunView, grant: Grant) -> Listener | None:
        """Who is to be told of the calls of a grant's pieces while they are made; None: nobody."""

    def ended(self, view: RunView, grant: Grant, executed: Executed, state: str) -> None:
        """A piece was executed; `state` is what the store said to it."""


class Unobserved:
    """Nobody listens."""

    def listener(self, view: RunView, grant: Grant) -> Listener | None:
        """Nobody."""
        return None

    def ended(self, view: RunView, grant: Grant, executed: Executed, state: str) -> None:
        """Nothing to tell."""


_KEPT_RUNS = 64
_OUTAGE_SECONDS = 0.2
_HINTED_SECONDS = 10.0
"""A message waits no longer for a retry: it would lie in some worker's memory. What is due later a sweep finds."""


class Engine:
    """What one process needs to work on runs: a store, keys, a sender, and what it learned of functions."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        settings: Settings,
        sender: Sender,
        *,
        boot: str = "local",
        observer: Observer | None = None,
    ) -> None:
        self.store = store
        self.keyring = keyring
        self.settings = settings
        self.sender = sender
        self.observer = observer or Unobserved()
        self.durations = Durations()
        self.watch = Watch(settings.heartbeat_seconds)
        self.limits = Limits(
            payload_bytes=settings.max_payload_bytes,
            items=settings.max_items,
            spool_bytes=settings.spool_bytes,
        )
        self._boot = boot
        self._calls = itertools.count(1)
        self._views: dict[str, RunView] = {}
        self._programs: dict[str, Program] = {}

    @property
    def owner(self) -> str:
        """This thread of this process, as claims name it."""
        return f"{self._boot}:{os.getpid()}:{threading.get_ident()}"

    def token(self) -> str:
        """A name for one claiming call that no other call has."""
        return f"{os.getpid()}-{next(self._calls)}-{time.time_ns()}"

    def adopt(self, run_id: str, plan: Plan) -> RunView:
        """Use a plan that this process made itself, functions and all."""
        return self._keep(RunView(self.store, self.keyring, Program(plan, self.keyring, None), run_id))

    def view(self, run_id: str) -> RunView:
        """The run with its verified plan. RunNotFound, BadSignature, PlanVersionUnsupported."""
        view = self._views.get(run_id)
        if view is None:
            view = self._keep(RunView(self.store, self.keyring, self._program(run_id), run_id))
        return view

    def _keep(self, view: RunView) -> RunView:
        if len(self._views) >= _KEPT_RUNS:
            self._views.pop(next(iter(self._views)))
        self._views[view.run_id] = view
        return view

    def _program(self, run_id: str) -> Program:
        stored = self.store.plan(run_id)
        if stored is None:
            raise RunNotFound(run_id)
        _, body = values.open_bytes(self.keyring, addresses.plan(run_id), stored)
        text = bytes(body)
        digest = hashlib.sha256(text).hexdigest()
        program = self._programs.get(digest)
        if program is None:
            if len(self._programs) >= _KEPT_RUNS:
                self._programs.pop(next(iter(self._programs)))
            imports = None if self.keyring.signed else self.settings.imports
            program = self._programs[digest] = Program(
                Plan.decode(text), self.keyring, imports, self.settings.code_mismatch
            )
        return program

    def visit(self, run_id: str, queue: str, focus: str = "", message: str = "") -> None:
        """Work on a run until nothing is ready on `queue`, or the message's time is over."""
        view = self._met(run_id)
        if view is not None:
            Visit(self, view, queue, message).work(focus)

    def condemn(self, run_id: str, queue: str, step: str) -> None:
        """Let what is condemned fail, where no worker of its queue may ever come to do so."""
        view = self._met(run_id)
        if view is not None:
            Visit(self, view, queue, "").fail(step)

    def ended(self, run_id: str, opened: Sequence[Opened]) -> None:
        """A run is over: what is to be called then is sent for, and its keys live as long as results do."""
        for step in opened:
            self.sender.visit(run_id, step.queue, 1)
        self.store.expire(run_id, self.settings.result_ttl_seconds)

    def links(self, run_id: str, queue: str, steps: Sequence[str], then: str, message: str = "") -> None:
        """Do just `steps`, as one link of a Celery chain; the chain itself sends the next link, to step `then`."""
        view = self._met(run_id)
        if view is not None:
            Visit(self, view, queue, message, steps, then).work_on(steps)

    def _met(self, run_id: str) -> RunView | None:
        """The run that a message names; one whose plan this worker may not read is left to others, unharmed."""
        try:
            return self.view(run_id)
        except RunNotFound:
            return None
        except DagceleryError as error:
            log.error("run %s was refused: %s", run_id, error, extra={"action": "refused", "run": run_id})  # noqa: TRY400
            return None


class Visit:
    """One message's stay in a run. A link of a chain does `steps` itself and leaves `then` to the chain."""

    def __init__(
        self,
        engine: Engine,
        view: RunView,
        queue: str,
        message: str,
        steps: Sequence[str] = (),
        then: str = "",
    ) -> None:
        self._engine = engine
        self._store = engine.store
        self._view = view
        self._run = view.run_id
        self._queue = queue
        self._message = message
        self._carried = frozenset((*steps, then)) if then else frozenset()
        self._owner = engine.owner
        self._executor = Executor(view, engine.limits, engine.settings.max_deaths)
        self._until = time.perf_counter() + engine.settings.slice_seconds
        self._told_at = time.perf_counter()
        self._ready = 0
        self._fanouts: list[Opened] = []
        self._is_over = False
        self._lock = threading.Lock()

    def work(self, focus: str) -> None:
        """Claim, execute, finish; again until nothing is ready or the time is over."""
        grant = self._claimed(self._store.claim(self._run, self._want(focus, arrived=True)))
        while grant is not None:
            more = time.perf_counter() < self._until
            grant = self._claimed(self._advance(grant, self._want(focus) if more else None))
            if not more:
                self._leave()

    def work_on(self, steps: Sequence[str]) -> None:
        """Execute these steps and nothing else."""
        for step in steps:
            grant = self._claimed(self._store.claim(self._run, self._want(step, only=True)))
            if grant is None:
                return
            self._claimed(self._advance(grant, None))

    def fail(self, step: str) -> None:
        """Claim what is condemned at this step, as long as there is some; give back what is not, after all."""
        while True:
            grant = self._store.claim(self._run, self._want(step, only=True)).grant
            if grant is None:
                return
            if not grant.condemned:
                self._store.release(self._run, grant, self._owner)
                return
            self._claimed(self._advance(grant, None))

    def _want(self, focus: str, *, only: bool = False, arrived: bool = False) -> Want:
        engine = self._engine
        return Want(
            queue=self._queue,
            owner=self._owner,
            token=engine.token(),
            focus=focus,
            only=only,
            slots=engine.sender.slots(self._queue),
            ranges=self._ranges(),
            message=self._message,
            arrived=arrived,
        )

    def _ranges(self) -> dict[str, int]:
        """How many items to claim at once of the fan-outs that this visit met."""
        found = {}
        for name, (clock_key, most) in self._view.fanouts.items():
            size = self._engine.durations.range_size(clock_key, most)
            if size > 1:
                found[name] = size
        return found

    def _advance(self, grant: Grant, want: Want | None) -> Reply:
        engine, view = self._engine, self._view
        clock_key = view.program.clock_key(grant.scope.body, grant.step)
        known = engine.durations.longest(clock_key)
        if self._ready and (known is None or known >= engine.settings.heartbeat_seconds):
            self._tell()
        if grant.lo >= 0:
            view.meet(grant.scope.body, grant.step)
        listener = engine.observer.listener(view, grant)
        if self._ready:
            with engine.watch.over(self._tell):
                executed = self._executor.execute(grant, listener)
        else:
            executed = self._executor.execute(grant, listener)
        engine.durations.add(clock_key, executed.seconds)
        reply = self._commit(grant, executed, want)
        engine.observer.ended(view, grant, executed, reply.state)
        if reply.retry_seconds is not None and reply.retry_seconds <= _HINTED_SECONDS:
            with self._losing_messages():
                engine.sender.visit(self._run, self._queue, 1, reply.retry_seconds)
        return reply

    def _commit(self, grant: Grant, executed: Executed, want: Want | None) -> Reply:
        """Tell the store what came of a piece. An outage is waited out as long as others would: the work is done."""
        token = want.token if want else self._engine.token()
        until = time.monotonic() + self._engine.settings.dead_seconds
        while True:
            try:
                if executed.children is not None:
                    return self._store.delegate(self._run, grant, executed.children, self._owner, token, want)
                return self._store.finish(self._run, grant, executed.outcome, self._owner, token, want)
            except StoreUnavailable:
                if time.monotonic() > until:
                    raise
                time.sleep(_OUTAGE_SECONDS)

    def _claimed(self, reply: Reply) -> Grant | None:
        """Take note of what a reply says; pass on what belongs to other queues, and what is due on this one."""
        self._ready = reply.ready
        elsewhere = []
        for opened in reply.opened:
            if f"{opened.scope}/{opened.step}" in self._carried:
                continue
            if opened.queue != self._queue or self._carried:
                elsewhere.append(opened)
            elif opened.items >= 0:
                self._fanouts.append(opened)
        if reply.run in TERMINAL and not self._is_over:
            self._is_over = True
            with self._losing_messages():
                self._engine.ended(self._run, [step for step in elsewhere if step.step == HOOK])
        elif elsewhere:
            self._start(elsewhere)
        if self._ready and time.perf_counter() - self._told_at >= self._engine.settings.heartbeat_seconds:
            self._tell()
        return reply.grant

    # -- telling others ---------------------------------------------------------------------------
    def _tell(self) -> None:
        """Send for help as far as the store finds it useful: a fan-out goes as a chord, other work as visits."""
        with self._lock:
            self._told_at = time.perf_counter()
            count = self._store.hint(self._run, self._queue, self._engine.sender.slots(self._queue))
            if not count:
                return
            fanouts, self._fanouts = self._fanouts, []
            if fanouts:
                self._start(fanouts)
            else:
                with self._losing_messages():
                    self._engine.sender.visit(self._run, self._queue, count)

    def _start(self, opened: Sequence[Opened]) -> None:
        with self._losing_messages():
            self._engine.sender.start(self._view, opened)

    @contextmanager
    def _losing_messages(self) -> Iterator[None]:
        """A message that cannot be sent is a lost one. The piece that this process holds must not be lost with it."""
        try:
            yield
        except Exception:
            about = {"action": "send_failed", "run": self._run}
            log.exception("run %s: a message could not be sent", self._run, extra=about)

    def _leave(self) -> None:
        """The message's time is over: hand on what is ready, and what this visit may have left so."""
        self._tell()
