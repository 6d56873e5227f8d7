"""The engine: a message brings a worker to a run, where it claims, executes and finishes pieces until none is ready.

The engine speaks to the store, and to a `Sender` for messages, so `invoke` and eager mode run the same one. A process
that makes work ready, or leaves it ready behind, tells others: once in each hand-off time while pieces are known to be
short, at once before a long one, and from the watchdog's thread if one overruns. So no ready piece waits longer than
the hand-off time and a message while a worker is free.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from dagcelery.engine.execute import Execution
from dagcelery.engine.hooks import Listener, call_task_hooks, seconds_each
from dagcelery.engine.interrupts import (
    EngineProcess,
    Watchdog,
    is_leaving,
    noted,
    quiet_logger,
    run_in,
    tell,
    tell_apart,
)
from dagcelery.engine.refusals import words
from dagcelery.engine.run_control import RunControl, Sender
from dagcelery.engine.run_view import RunView
from dagcelery.errors import DagceleryError, RunNotFound, StoreFull, StoreUnavailable
from dagcelery.payload import failures
from dagcelery.payload.signing import Keyring
from dagcelery.settings import Settings
from dagcelery.store.fleet import other_consumers
from dagcelery.store.protocol import Store
from dagcelery.store.records import HOOK, TERMINAL, Claim, ClaimRequest, PieceId, ReadyStep, Response, TaskResult

_KEPT = 20

RANGE_TARGET_SECONDS = 0.05
"""How long one claim of a fan-out should take."""


class Durations:
    """Seconds by function; safe to share between threads, because a lost sample does no harm."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[float]] = {}

    def add(self, function: str, seconds: float) -> None:
        """Remember that one call took `seconds`."""
        samples = self._samples.get(function)
        if samples is None:
            samples = self._samples[function] = deque(maxlen=_KEPT)
        samples.append(seconds)

    def longest(self, function: str) -> float | None:
        """Return the longest of the last calls, or None if there was none."""
        samples = self._samples.get(function)
        return max(samples) if samples else None

    def range_size(self, function: str, most: int) -> int:
        """Return how many items fit into one claim; one while nothing is known."""
        longest = self.longest(function)
        if longest is None:
            return 1
        return max(1, min(most, int(RANGE_TARGET_SECONDS / max(longest, 1e-6))))


log = quiet_logger(__name__)

_OUTAGE_SECONDS = 0.2

_PAUSE_SECONDS, _REFUSAL_SECONDS = 0.03, 0.1
"""A process that has refused a message waits before it sends it again, so that others are first at it; and it sends one
in this time at most, lest it takes all messages while those that may do their work are busy."""

_FULL_SECONDS, _FULL_PAUSE_SECONDS = 60.0, 1.0
"""A worker with a result for a full store says so this often, and tries again this often."""

_WAKE_UP_SECONDS = 10.0
"""A message waits no longer for a retry: it would lie in some worker's memory. What is due later a sweep finds."""


class WorkerLoop:
    """The work that one message causes in a run. Steps that are `carried` by a chain need no messages of their own."""

    def __init__(
        self, engine: Engine, view: RunView, queue: str, message: str = "", carried: Collection[str] = ()
    ) -> None:
        self._engine = engine
        self._store = engine.store
        self._view = view
        self._run = view.run_id
        self._queue = queue
        self._message = message
        self._carried = frozenset(carried)
        self._owner = engine.owner
        self._until = time.perf_counter() + engine.settings.slice_seconds
        self._told_at = time.perf_counter()
        self._ready = 0
        self._fanouts: list[ReadyStep] = []
        self._is_over = False
        self._lock = threading.Lock()

    def work(self, focus: str) -> None:
        """Claim, execute, finish; again until nothing is ready or the time is over."""
        claim = self._claimed(self._store.machine.claim(self._run, self._request(focus, arrived=True)))
        while claim is not None:
            more = time.perf_counter() < self._until
            claim = self._claimed(self._advance(claim, self._request(focus) if more else None))
            if not more:  # the message's time is over: hand on what is ready
                self._tell(is_leaving=True)

    def work_on(self, steps: Sequence[str]) -> None:
        """Execute these steps and nothing else."""
        for step in steps:
            claim = self._claimed(self._store.machine.claim(self._run, self._request(step, only=True)))
            if claim is None:
                return
            self._claimed(self._advance(claim, None))

    def fail(self, step: str) -> None:
        """Claim what is poisoned at this step, as long as there is some; give back what is not, after all."""
        while True:
            claim = self._store.machine.claim(self._run, self._request(step, only=True)).claim
            if claim is None:
                return
            if not claim.poisoned:
                self._store.machine.release(self._run, claim, self._owner)
                return
            self._claimed(self._advance(claim, None))

    def _request(self, focus: str, *, only: bool = False, arrived: bool = False) -> ClaimRequest:
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
            keep_seconds=engine.settings.result_ttl_seconds,
        )

    def _ranges(self) -> dict[str, int]:
        """Return how many items to claim at once of the fan-outs that this process has met."""
        sizes = {}
        for name, (clock_key, most) in list(self._view.fanouts.items()):  # other threads meet more
            size = self._engine.durations.range_size(clock_key, most)
            if size > 1:
                sizes[name] = size
        return sizes

    def _advance(self, claim: Claim, request: ClaimRequest | None) -> Response:
        engine, view = self._engine, self._view
        is_known = view.program.knows(claim.scope.body) or self._find_plan(claim)
        quota = view.program.quota(claim.scope.body, claim.step) if is_known and not claim.poisoned else None
        if quota is not None and not engine.quotas.take(quota, view, claim, self._queue, self._owner):
            return self._store.machine.claim(self._run, request) if request else Response("none", "running")
        clock_key = view.program.clock_key(claim.scope.body, claim.step) if is_known else "unknown"
        longest = engine.durations.longest(clock_key)
        if self._ready and (longest is None or longest >= engine.settings.handoff_seconds):
            self._tell()
        if claim.lo >= 0 and is_known:
            view.meet(claim.scope.body, claim.step)
        is_heard = is_known and tell(engine.listener.hears_calls, view, claim)
        execution = Execution(view, claim, engine.settings, engine.listener if is_heard else None)
        if self._ready:
            with engine.watch.over(self._tell):
                result = execution.run()
        else:
            result = execution.run()
        if not result.is_refused:
            engine.durations.add(clock_key, seconds_each(claim, result))
        response = self._commit(claim, result, request)
        if quota is not None:
            engine.quotas.give(quota, view, claim, self._owner)
        if result.is_refused:
            return response
        self._tell_of(claim, result, response)
        if response.retry_seconds is not None and response.retry_seconds <= _WAKE_UP_SECONDS:
            with self._losing_messages():
                engine.sender.wake_up(self._run, self._queue, 1, response.retry_seconds)
        if view.program.frees:
            engine.free(view)
        return response

    def _tell_of(self, claim: Claim, result: TaskResult, response: Response) -> None:
        """Tell hooks and the listener what came of a piece; what it held in memory is free then."""
        program = self._view.program
        if program.has_hooks and program.knows(claim.scope.body):
            tell_apart(call_task_hooks, self._view, claim, result, response.state)
        is_kept = tell_apart(self._engine.listener.ended, self._view, claim, result, response)
        if result.error is not None and not is_kept:
            failures.release(result.error)

    def _find_plan(self, claim: Claim) -> bool:
        """Have the plan of a granted piece at hand; what is wrong with it is said where the piece is executed."""
        try:
            self._view.trust(claim.scope)
        except StoreUnavailable:
            raise
        except DagceleryError:
            return False
        return True

    def _commit(self, claim: Claim, result: TaskResult, request: ClaimRequest | None) -> Response:
        """Tell the store what came of a piece. An outage is waited out as long as others would: the work is done.

        A full store is waited for until it has room: it hears that this worker lives, so no other executes the piece.
        """
        machine, token = self._store.machine, request.token if request else self._engine.token()
        until, told_at = time.monotonic() + self._engine.settings.dead_seconds, -math.inf
        while True:
            try:
                if result.is_refused:
                    self._engine.refuse(self._run, self._queue, result.error, self._view, claim)
                    return machine.claim(self._run, request) if request else Response("none", "running")
                if result.children is not None:
                    return machine.delegate(self._run, claim, result.children, self._owner, token, request)
                return machine.finish(self._run, claim, result, self._owner, token, request)
            except StoreFull as error:
                if claim.poisoned:  # nothing was done for it, and a sweeper has other runs to look after
                    raise
                if time.monotonic() - told_at > _FULL_SECONDS:
                    told_at, about = time.monotonic(), {"action": "store_full", "run": self._run}
                    log.warning("run %s: a result waits, since %s", self._run, error, extra=about)
                time.sleep(_FULL_PAUSE_SECONDS)
            except StoreUnavailable:
                if time.monotonic() > until:
                    raise
                time.sleep(_OUTAGE_SECONDS)

    def _claimed(self, response: Response) -> Claim | None:
        """Take note of what a response says; pass on what belongs to other queues, and what is due on this one."""
        self._ready = response.ready
        elsewhere = []
        for opened in response.opened:
            if self._carried and PieceId(opened.scope, opened.step).name in self._carried:
                continue
            if opened.queue != self._queue or self._carried:
                elsewhere.append(opened)
            elif opened.items >= 0:
                self._fanouts.append(opened)
        if response.run in TERMINAL and not self._is_over:
            self._is_over = True
            with self._losing_messages():
                called = [step for step in elsewhere if step.step == HOOK]
                self._engine.ended(self._run, called, response.run, response.lasted, is_settled=response.is_settled)
        elif elsewhere:
            self._start(elsewhere)
        if self._ready and time.perf_counter() - self._told_at >= self._engine.settings.handoff_seconds:
            self._tell()
        if response.is_left:
            self._engine.refuse(self._run, self._queue)
        if response.claim is not None and response.claim.generation != self._view.generation:
            self._view.enter(response.claim.generation)
        return response.claim

    # -- telling others ---------------------------------------------------------------------------
    def _tell(self, *, is_leaving: bool = False) -> None:
        """Send for help as far as the store finds it useful: a fan-out goes as a chord, other work as wake-ups."""
        with self._lock:
            self._told_at = time.perf_counter()
            with self._losing_messages():
                slots = self._engine.sender.slots(self._queue)
                count = self._store.machine.wake_ups(self._run, self._queue, slots, is_leaving=is_leaving)
                if not count:
                    return
                fanouts, self._fanouts = self._fanouts, []
                if fanouts:
                    self._start(fanouts)
                else:
                    self._engine.sender.wake_up(self._run, self._queue, count)

    def _start(self, opened: Sequence[ReadyStep]) -> None:
        with self._losing_messages():
            self._engine.sender.start(self._view, opened)

    def _losing_messages(self) -> AbstractContextManager[None]:
        return losing_messages(self._run)


@contextmanager
def losing_messages(run_id: str) -> Iterator[None]:
    """Take a message that cannot be sent for a lost one: the piece in hand must not be lost with it."""
    try:
        yield
    except BaseException as error:
        if is_leaving(error):
            raise
        about = {"action": "send_failed", "run": run_id}
        log.exception("run %s: a message could not be sent", run_id, extra=about)


class Engine(RunControl):
    """What one process needs to work on runs: access to them, and what it learned of functions."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        settings: Settings,
        sender: Sender,
        *,
        process: EngineProcess,
        worker_id: str = "local",
        listener: Listener | None = None,
        imports: Collection[str] | None = None,
    ) -> None:
        run_in(process)
        self.listener = listener or Listener()
        super().__init__(store, keyring, settings, sender, on_end=self.listener.run_ended, imports=imports)
        self.durations = Durations()
        self.watch = Watchdog(settings.handoff_seconds)
        self._worker_id = worker_id
        self._calls = itertools.count(1)
        self._refused_at = 0.0

    @property
    def owner(self) -> str:
        """This thread of this process, as claims name it."""
        return f"{self._worker_id}:{os.getpid()}:{threading.get_ident()}"

    def token(self) -> str:
        """Return a name for one claiming call that no other call has."""
        return f"{os.getpid()}-{next(self._calls)}-{time.time_ns()}"

    def work(self, run_id: str, queue: str, focus: str = "", message: str = "") -> None:
        """Work on a run until nothing is ready on `queue`, or the message's time is over."""
        view = self._readable(run_id, queue)
        if view is not None:
            with noted(), view.in_use():
                WorkerLoop(self, view, queue, message).work(focus)

    def fail_poisoned(self, run_id: str, queue: str, step: str) -> None:
        """Let what is poisoned fail, where no worker of its queue may ever come to do so."""
        view = self.find_view(run_id)
        if view is not None:
            with noted(), view.in_use():
                WorkerLoop(self, view, queue).fail(step)

    def work_link(self, run_id: str, queue: str, steps: Sequence[str], then: str, message: str = "") -> None:
        """Do just `steps`, as one link of a Celery chain; the chain itself sends the next link, to step `then`."""
        view = self._readable(run_id, queue)
        if view is not None:
            with noted(), view.in_use():
                WorkerLoop(self, view, queue, message, (*steps, then)).work_on(steps)

    def _readable(self, run_id: str, queue: str) -> RunView | None:
        """Return a run's view; None if the run is gone, or, left to other workers, if it cannot be read here."""
        try:
            return self.view(run_id)
        except RunNotFound:
            return None
        except StoreUnavailable:
            raise
        except DagceleryError as error:
            self.refuse(run_id, queue, error)
            return None

    def refuse(
        self,
        run_id: str,
        queue: str,
        error: BaseException | None = None,
        view: RunView | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Leave what is ready on a queue to other workers, since this one lacks what it needs: give the claim back, if
        there is one, and send the message again that has brought it here, if it may bring another one. The `error`
        says what is lacking; None: the store knows.
        """
        if error is not None:
            is_known = view and claim and view.program.knows(claim.scope.body)
            address = view.address(claim.scope, claim.step) if view and claim and is_known else ""
            self.say_refused(run_id, error, address)
        others = other_consumers(self.store.fleet, queue, self._worker_id, self.settings.dead_seconds)
        why = words(error) if error is not None else ""
        if self.store.machine.refuse(run_id, queue, self.owner, others, why, claim):
            self._pause()
            with losing_messages(run_id):
                self.sender.wake_up(run_id, queue, 1)

    def _pause(self) -> None:
        wait_seconds = self._refused_at + _REFUSAL_SECONDS - time.monotonic()
        time.sleep(max(_PAUSE_SECONDS, wait_seconds))
        self._refused_at = time.monotonic()
