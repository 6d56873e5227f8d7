"""One message's stay in a run: claim, execute, finish, until nothing is ready or its time is over.

Who must tell others of ready work? Whoever made it ready, or leaves it ready behind. While a visit runs pieces that
are known to be short it tells others every heartbeat; before one that is not, at once; and if one overruns, a timer
thread does. So no ready piece waits longer than a heartbeat and a message while a worker is free.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dagcelery.errors import DagceleryError, StoreUnavailable
from dagcelery.payload import failures
from dagcelery.runtime import hooks
from dagcelery.runtime.calls import Listener
from dagcelery.runtime.execution import Executed, Executor
from dagcelery.runtime.interrupts import is_leaving
from dagcelery.runtime.reading import RunView
from dagcelery.runtime.telling import quiet_logger, tell_apart
from dagcelery.store.records import HOOK, TERMINAL, Claim, ClaimRequest, ReadyStep, Response

if TYPE_CHECKING:
    from dagcelery.runtime.engine import Engine

log = quiet_logger(__name__)

_OUTAGE_SECONDS = 0.2
_HINTED_SECONDS = 10.0
"""A message waits no longer for a retry: it would lie in some worker's memory. What is due later a sweep finds."""


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
        self._executor = Executor(view, engine.limits, engine.settings.max_deaths, engine.settings.max_nodes)
        self._until = time.perf_counter() + engine.settings.slice_seconds
        self._told_at = time.perf_counter()
        self._ready = 0
        self._fanouts: list[ReadyStep] = []
        self._is_over = False
        self._lock = threading.Lock()

    def work(self, focus: str) -> None:
        """Claim, execute, finish; again until nothing is ready or the time is over."""
        grant = self._claimed(self._store.machine.claim(self._run, self._want(focus, arrived=True)))
        while grant is not None:
            more = time.perf_counter() < self._until
            grant = self._claimed(self._advance(grant, self._want(focus) if more else None))
            if not more:
                self._leave()

    def work_on(self, steps: Sequence[str]) -> None:
        """Execute these steps and nothing else."""
        for step in steps:
            grant = self._claimed(self._store.machine.claim(self._run, self._want(step, only=True)))
            if grant is None:
                return
            self._claimed(self._advance(grant, None))

    def fail(self, step: str) -> None:
        """Claim what is poisoned at this step, as long as there is some; give back what is not, after all."""
        while True:
            grant = self._store.machine.claim(self._run, self._want(step, only=True)).claim
            if grant is None:
                return
            if not grant.poisoned:
                self._store.machine.release(self._run, grant, self._owner)
                return
            self._claimed(self._advance(grant, None))

    def _want(self, focus: str, *, only: bool = False, arrived: bool = False) -> ClaimRequest:
        engine = self._engine
        return ClaimRequest(
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
        for name, (clock_key, most) in list(self._view.fanouts.items()):  # other threads meet more
            size = self._engine.durations.range_size(clock_key, most)
            if size > 1:
                found[name] = size
        return found

    def _advance(self, grant: Claim, want: ClaimRequest | None) -> Response:
        engine, view = self._engine, self._view
        is_known = view.program.knows(grant.scope.body) or self._find_plan(grant)
        quota = view.program.quota(grant.scope.body, grant.step) if is_known and not grant.poisoned else None
        if quota is not None and not engine.quotas.take(quota, view, grant, self._queue, self._owner):
            return self._store.machine.claim(self._run, want) if want else Response("none", "running")
        clock_key = view.program.clock_key(grant.scope.body, grant.step) if is_known else "unknown"
        known = engine.durations.longest(clock_key)
        if self._ready and (known is None or known >= engine.settings.heartbeat_seconds):
            self._tell()
        if grant.lo >= 0 and is_known:
            view.meet(grant.scope.body, grant.step)
        listener = tell_apart(engine.observer.listener, view, grant) if is_known else None
        if self._ready:
            with engine.watch.over(self._tell):
                executed = self._executor.execute(grant, listener)
        else:
            executed = self._executor.execute(grant, listener)
        engine.durations.add(clock_key, executed.seconds)
        reply = self._commit(grant, executed, want)
        if quota is not None:
            engine.quotas.give(quota, view, grant, self._owner)
        self._tell_of(grant, executed, reply, listener)
        if reply.retry_seconds is not None and reply.retry_seconds <= _HINTED_SECONDS:
            with self._losing_messages():
                engine.sender.visit(self._run, self._queue, 1, reply.retry_seconds)
        if view.program.frees:
            engine.free(view)
        return reply

    def _tell_of(self, grant: Claim, executed: Executed, reply: Response, listener: Listener | None) -> None:
        """Tell listeners, hooks and the observer what came of a piece; what it held in memory is free then."""
        program, error = self._view.program, executed.error
        if listener is not None and error is not None and program.may_retry:
            tell_apart(listener.settled, reply.state)
        if program.has_hooks and program.knows(grant.scope.body):
            tell_apart(hooks.call_task_hooks, self._view, grant, executed, reply.state)
        is_kept = tell_apart(self._engine.observer.ended, self._view, grant, executed, reply)
        if error is not None and not is_kept:
            failures.release(error)

    def _find_plan(self, grant: Claim) -> bool:
        """Have the plan of a granted piece at hand; what is wrong with it is said where the piece is executed."""
        try:
            self._view.trust(grant.scope)
        except StoreUnavailable:
            raise
        except DagceleryError:
            return False
        return True

    def _commit(self, grant: Claim, executed: Executed, want: ClaimRequest | None) -> Response:
        """Tell the store what came of a piece. An outage is waited out as long as others would: the work is done."""
        token = want.token if want else self._engine.token()
        until = time.monotonic() + self._engine.settings.dead_seconds
        while True:
            try:
                if executed.children is not None:
                    return self._store.machine.delegate(self._run, grant, executed.children, self._owner, token, want)
                return self._store.machine.finish(self._run, grant, executed.outcome, self._owner, token, want)
            except StoreUnavailable:
                if time.monotonic() > until:
                    raise
                time.sleep(_OUTAGE_SECONDS)

    def _claimed(self, reply: Response) -> Claim | None:
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
                called = [step for step in elsewhere if step.step == HOOK]
                self._engine.ended(self._run, called, reply.run, reply.lasted)
        elif elsewhere:
            self._start(elsewhere)
        if self._ready and time.perf_counter() - self._told_at >= self._engine.settings.heartbeat_seconds:
            self._tell()
        if reply.claim is not None and reply.claim.generation != self._view.generation:
            self._view.enter(reply.claim.generation)
        return reply.claim

    # -- telling others ---------------------------------------------------------------------------
    def _tell(self) -> None:
        """Send for help as far as the store finds it useful: a fan-out goes as a chord, other work as visits."""
        with self._lock:
            self._told_at = time.perf_counter()
            count = self._store.machine.wake_ups(self._run, self._queue, self._engine.sender.slots(self._queue))
            if not count:
                return
            fanouts, self._fanouts = self._fanouts, []
            if fanouts:
                self._start(fanouts)
            else:
                with self._losing_messages():
                    self._engine.sender.visit(self._run, self._queue, count)

    def _start(self, opened: Sequence[ReadyStep]) -> None:
        with self._losing_messages():
            self._engine.sender.start(self._view, opened)

    @contextmanager
    def _losing_messages(self) -> Iterator[None]:
        """A message that cannot be sent is a lost one. The piece that this process holds must not be lost with it."""
        try:
            yield
        except BaseException as error:
            if is_leaving(error):
                raise
            about = {"action": "send_failed", "run": self._run}
            log.exception("run %s: a message could not be sent", self._run, extra=about)

    def _leave(self) -> None:
        """The message's time is over: hand on what is ready, and what this visit may have left so."""
        self._tell()
