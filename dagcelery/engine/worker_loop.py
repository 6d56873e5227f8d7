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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from dagcelery.engine.batches import Batch, Behind, Executed, without_result
from dagcelery.engine.beside import can_await
from dagcelery.engine.durations import BATCH_SECONDS, Durations
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
from dagcelery.engine.program import Program
from dagcelery.engine.refusals import words
from dagcelery.engine.run_control import RunControl, Sender
from dagcelery.engine.run_view import RunView
from dagcelery.engine.side_by_side import SideBySide
from dagcelery.errors import DagceleryError, RunNotFound, StoreFull, StoreUnavailable
from dagcelery.payload import failures
from dagcelery.payload.signing import Keyring
from dagcelery.planner.topology import topology
from dagcelery.settings import Settings
from dagcelery.store.fleet import other_consumers
from dagcelery.store.protocol import Store
from dagcelery.store.records import (
    HOOK,
    TERMINAL,
    Claim,
    ClaimRequest,
    PieceId,
    ReadyStep,
    Response,
    TaskResult,
)

T = TypeVar("T")

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
        self._is_told = False
        self._ready = 0
        self._fanouts: list[ReadyStep] = []
        self._is_over = False
        self._lanes = engine.settings.async_concurrency if can_await() else 1
        self._lock = threading.Lock()
        view.meet_first()

    def work(self, focus: str) -> None:
        """Claim, execute, finish; again until nothing is ready or the time is over."""
        claims = self._claimed(self._store.machine.claim(self._run, self._request(focus, arrived=True)))
        while claims:
            response, more = self._turn(claims, focus)
            claims = self._claimed(response)
            if not more and not claims:
                self._leave()

    def _turn(self, claims: Sequence[Claim], focus: str) -> tuple[Response, bool]:
        """Execute what was claimed, and claim again. Return the answer, and whether there was time for that."""
        if claims[0].is_beside:
            return SideBySide(self, self._engine, self._engine.durations).turn(claims, focus)
        request = _nothing if self._is_late() else partial(self._request_in_time, focus)
        return self._advance(claims, request), not self._is_late()

    def work_on(self, steps: Sequence[str]) -> None:
        """Execute these steps and nothing else."""
        for step in steps:
            claims = self._claimed(self._store.machine.claim(self._run, self._request(step, only=True)))
            if not claims:
                return
            self._claimed(self._advance(claims, _nothing))
            if self._is_late():
                self._leave()
                return

    def _is_late(self) -> bool:
        """Return whether the message's time is over. A worker that is being stopped ends its messages, and no process
        of its pool is told why: so this is asked after each piece, lest another long one begin then.
        """
        return time.perf_counter() >= self._until

    def _leave(self) -> None:
        """Hand on what is ready, if the message's time is over; else nothing is."""
        if self._is_late() and not self._is_over:
            self._tell(is_leaving=True)

    def fail(self, step: str) -> None:
        """Claim what is poisoned at this step, as long as there is some; give back what is not, after all."""
        while True:
            claim = self._store.machine.claim(self._run, self._request(step, only=True)).claim
            if claim is None:
                return
            if not claim.poisoned:
                self._store.machine.release(self._run, claim, self._owner)
                return
            self._claimed(self._advance([claim], _nothing))

    def _request_in_time(self, focus: str) -> ClaimRequest | None:
        return None if self._is_late() else self._request(focus)

    def _request(self, focus: str, *, only: bool = False, arrived: bool = False, held: int = 0) -> ClaimRequest:
        engine, view, known = self._engine, self._view, self._engine.durations
        return ClaimRequest(
            queue=self._queue,
            owner=self._owner,
            token=engine.token(),
            focus=focus,
            only=only,
            slots=engine.sender.slots(self._queue),
            ranges=_several((name, known.range_size(key, most)) for name, (key, most) in _now(view.fanouts)),
            short={} if only else {name: size for name in list(view.functions) if (size := known.batch_size(name))},
            message=self._message,
            arrived=arrived,
            tells=bool(self._ready) and self._is_due(),
            keep_seconds=engine.settings.result_ttl_seconds,
            beside=0 if only or self._lanes == 1 else self._lanes - held,
            has_others=held > 0,
        )

    def _is_due(self) -> bool:
        """Return whether others were told of ready work the hand-off time ago."""
        return time.perf_counter() - self._told_at >= self._engine.settings.handoff_seconds

    # -- executing --------------------------------------------------------------------------------
    def _advance(self, claims: Sequence[Claim], request: Request) -> Response:
        """Execute what was claimed, commit it, and claim what is requested then."""
        engine, view, first = self._engine, self._view, claims[0]
        quota = view.program.quota(first.scope.body, first.step) if self._knows(first) and not first.poisoned else None
        if quota is not None and not engine.quotas.take(quota, view, first, self._queue, self._owner):
            return self._claim_instead(request())
        batch, error = Batch(claims), None
        with ExitStack() as watched:
            if len(claims) > 1 or (self._ready and not self._is_told):
                watched.enter_context(engine.watch.over(partial(self._hand_on, batch)))
            try:
                self._execute_all(batch, watched, is_followed=request is not _nothing and self._has_company(first))
            except StoreUnavailable as outage:  # the store was asked for what a piece reads
                error = outage
        with batch.lock:
            batch.in_hand = None  # the watch's thread has come too late from now on
        self._tell_of_all(batch)
        if error is not None:
            if batch.executed:  # as the work is done, this waits for the store to come back
                self._claimed(self._commit_all(batch, _nothing))
            with batch.lock:
                self._give_back(batch)
            raise error
        (_, result), response = batch.executed[-1], self._commit_all(batch, request)
        if quota is not None:
            engine.quotas.give(quota, view, first, self._owner)
        if view.program.frees and not result.is_refused:
            engine.free(view)
        return response

    def _execute_all(self, batch: Batch, watched: ExitStack, *, is_followed: bool) -> None:
        """Execute a batch, and right behind it the short steps that wait for pieces of it alone.

        If the time of a batch is over, what has not begun is given back.
        """
        behind = Behind(self._view.program, self._engine.durations.usual)
        until = time.perf_counter() + 2 * BATCH_SECONDS
        while (claim := batch.begin()) is not None:
            behind.note(batch.end(self._execute(claim)))
            if time.perf_counter() > until:
                with batch.lock:
                    self._give_back(batch)
        is_watched = False
        while is_followed and not batch.told and self._view.generation == 0:
            following = behind.following()
            if following is None:
                return
            if not is_watched:
                watched.enter_context(self._engine.watch.over(partial(self._hand_on, batch)))
                is_watched = True
            batch.begin(following)
            behind.note(batch.end(self._execute(following)))

    def _has_company(self, claim: Claim) -> bool:
        """Return whether a death counts for no piece while others are executed with this one, as for the store."""
        program, body = self._view.program, claim.scope.body
        if claim.step < 0 or not program.knows(body) or program.is_alone(body, claim.step):
            return False
        return self._engine.durations.batch_size(program.clock_key(body, claim.step)) > 0

    def _execute(self, claim: Claim) -> TaskResult:
        result = Execution(
            self._view, claim, self._engine.settings, self._engine.sender.check, self._listener(claim)
        ).run()
        if not result.is_refused:
            self._engine.durations.add(self._clock_key(claim), seconds_each(claim, result))
        return result

    def _listener(self, claim: Claim) -> Listener | None:
        """Return who hears of the calls of a claim that is about to be executed."""
        if not self._knows(claim):
            return None
        if claim.step >= 0:
            self._view.meet(claim.scope.body, claim.step)
        listener = self._engine.listener
        return listener if tell(listener.hears_calls, self._view, claim) else None

    def _clock_key(self, claim: Claim) -> str:
        program, body = self._view.program, claim.scope.body
        return program.clock_key(body, claim.step) if program.knows(body) else "unknown"

    def _knows(self, claim: Claim) -> bool:
        """Have the plan of a granted piece at hand; what is wrong with it is said where the piece is executed."""
        if self._view.program.knows(claim.scope.body):
            return True
        try:
            self._view.trust(claim.scope)
        except StoreUnavailable:
            raise
        except DagceleryError:
            return False
        return True

    def _give_back(self, batch: Batch) -> bool:
        """Give back what has not begun of a batch; return whether there was something. Its lock is held.

        What cannot be given back now is executed here.
        """
        given = False
        try:
            while batch.waiting:
                self._store.machine.release(self._run, batch.waiting[-1], self._owner)
                batch.waiting.pop()
                given = True
        except (StoreUnavailable, StoreFull):
            log.info("run %s: what waits here cannot be given back now", self._run, extra={"action": "kept"})
        return given

    # -- committing -------------------------------------------------------------------------------
    def _commit_all(self, batch: Batch, request: Request) -> Response:
        """Commit what is executed, in as few calls as possible; the last one claims.

        What was executed behind a piece is committed with it, or is claimed by the call that commits the piece: else
        another worker might have it in between.
        """
        parts = batch.parts()
        if parts[0][0][0].follows:
            parts[0][0] = without_result(parts[0][0])
        for portion, behind in itertools.pairwise(parts):
            following = behind[0][0] if behind[0][0].follows else None
            want = self._request(following.piece, only=True) if following else None
            response = self._committed(batch, portion, want)
            claims = self._claimed(response)
            if following:
                claim = self._owned(batch, claims, following)
                behind[0] = without_result(behind[0]) if claim.follows else (claim, behind[0][1])
                batch.executed[0] = behind[0]
        return self._committed(batch, parts[-1], request())

    def _owned(self, batch: Batch, claims: Sequence[Claim], following: Claim) -> Claim:
        """Return the claim of a piece that was executed without one, or the old one: if what it has read was not kept,
        or another worker has it.
        """
        for claim in claims:
            if following.follows <= batch.kept and claim.attempt == following.attempt and not claim.poisoned:
                return claim
            self._store.machine.release(self._run, claim, self._owner)
        return following

    def _committed(self, batch: Batch, portion: Sequence[Executed], request: ClaimRequest | None) -> Response:
        response = self._commit(portion, request)
        batch.committed(portion, response)
        if batch.in_hand is None:  # else this is the watch's thread
            self._tell_of_all(batch)
        if response.retry_seconds is not None and response.retry_seconds <= _WAKE_UP_SECONDS:
            with self._losing_messages():
                self._engine.sender.wake_up(self._run, self._queue, 1, response.retry_seconds)
        return response

    def _tell_of_all(self, batch: Batch) -> None:
        while batch.told:
            portion, response = batch.told.popleft()
            if portion[0][1].is_refused:
                continue
            for number, ((claim, result), state) in enumerate(zip(portion, response.states, strict=True), 1):
                completed = response.completed if number == len(portion) else ()
                self._tell_of(claim, result, replace(response, states=(state,), completed=completed))

    def _tell_of(self, claim: Claim, result: TaskResult, response: Response) -> None:
        """Tell hooks and the listener what came of a piece; what it held in memory is free then."""
        program = self._view.program
        if program.has_hooks and program.knows(claim.scope.body):
            tell_apart(call_task_hooks, self._view, claim, result, response.state, self._engine.settings)
        is_kept = tell_apart(self._engine.listener.ended, self._view, claim, result, response, within=result.context)
        if result.error is not None and not is_kept:
            failures.release(result.error)

    def _claim_instead(self, request: ClaimRequest | None) -> Response:
        """Claim another piece than the one that is not to be executed here."""
        return self._store.machine.claim(self._run, request) if request else Response(("none",), "running")

    def _commit(self, portion: Sequence[Executed], request: ClaimRequest | None) -> Response:
        """Tell the store what came of pieces. An outage is waited out as long as others would: the work is done.

        A full store is waited for until it has room: it hears that this worker lives, so no other executes the pieces.
        """
        (claim, result), token = portion[0], request.token if request else self._engine.token()
        until, told_at = time.monotonic() + self._engine.settings.dead_seconds, -math.inf
        machine = self._store.machine
        while True:
            try:
                if result.is_refused:
                    self._engine.refuse(self._run, self._queue, result.error, self._view, claim)
                    return self._claim_instead(request)
                if result.children is not None:
                    return machine.delegate(self._run, claim, result.children, self._owner, token, request, result.log)
                return machine.finish(self._run, portion, self._owner, token, request)
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

    def _claimed(self, response: Response) -> Sequence[Claim]:
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
        was_over, self._is_over = self._is_over, response.run in TERMINAL  # it may have been resumed in between
        if self._is_over and not was_over:
            with self._losing_messages():
                called = [step for step in elsewhere if step.step == HOOK]
                self._engine.ended(self._run, called, response.run, response.lasted, is_settled=response.is_settled)
        elif elsewhere:
            self._start(elsewhere)
        self._is_told = response.wake_ups is not None
        if response.wake_ups is not None:
            self._told_at = time.perf_counter()
            with self._lock, self._losing_messages():
                self._send(response.wake_ups)
        if response.is_left:
            self._engine.refuse(self._run, self._queue)
        if response.claim is not None and response.claim.generation != self._view.generation:
            self._view.enter(response.claim.generation)
        return response.claims

    # -- telling others ---------------------------------------------------------------------------
    def _tell(self, *, is_leaving: bool = False) -> None:
        """Send for help as far as the store finds it useful: a fan-out goes as a chord, other work as wake-ups."""
        with self._lock:
            self._told_at = time.perf_counter()
            with self._losing_messages():
                slots = self._engine.sender.slots(self._queue)
                self._send(self._store.machine.wake_ups(self._run, self._queue, slots, is_leaving=is_leaving))

    def _hand_on(self, batch: Batch) -> None:
        """While a piece takes longer than expected, let others have what waits, and what the executed ones opened."""
        with batch.lock:
            if batch.in_hand is None:
                return  # it has ended after all
            is_news, following = self._give_back(batch), batch.in_hand
            if batch.executed:
                want = partial(self._request, following.piece, only=True) if following.follows else _nothing
                is_news, response = True, self._commit_all(batch, want)
                claims = self._claimed(response)
                if following.follows:
                    batch.in_hand = self._owned(batch, claims, following)
        if is_news or self._ready:
            self._tell()

    def _send(self, wake_ups: int) -> None:
        if not wake_ups:
            return
        fanouts, self._fanouts = self._fanouts, []
        if fanouts:
            self._start(fanouts)
        else:
            self._engine.sender.wake_up(self._run, self._queue, wake_ups)

    def _start(self, opened: Sequence[ReadyStep]) -> None:
        with self._losing_messages():
            self._engine.sender.start(self._view, opened)

    def _losing_messages(self) -> AbstractContextManager[None]:
        return losing_messages(self._run)


Request = Callable[[], ClaimRequest | None]
"""Makes the request for what to claim next, when all else is done: what it says is true then."""


def _nothing() -> None:
    """Request nothing."""


def _several(sizes: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return what is more than one; a worker claims one if it says nothing."""
    return {name: size for name, size in sizes if size > 1}


def _now(known: Mapping[str, T]) -> Iterable[tuple[str, T]]:
    return list(known.items())  # other threads meet more


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

    def _program(self, run_id: str) -> tuple[Program, str]:
        """Read all of a plan at once: what is wrong with it is found before anything is claimed."""
        program, sealed_by = super()._program(run_id)
        topology(program.plan)
        return program, sealed_by

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
