"""Pieces of `async def` tasks that a process awaits side by side: each with its own claim, context, limits and outcome.

A piece is begun by reading its inputs and calling its function, which makes a coroutine; then it waits in the event
loop of this thread, beside others; and it is ended as any execution is, with a function that hands out what came of the
coroutine. All of that happens in one thread, so signals and forks mean what they always do: the loop stands still while
a piece is begun, ended or committed.

The road not taken: a thread for each. A coroutine would run in another thread than what is around it, a soft limit
could interrupt none, and a process that dies would not know what it had in hand together.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from dataclasses import replace
from types import CoroutineType, TracebackType
from typing import Any, Final
from weakref import WeakSet

from dagcelery.engine.attempts import CANCEL_SECONDS, Limit, killed_after, leave_child, loop_of_thread
from dagcelery.engine.caching import Recollection
from dagcelery.engine.execute import Execution, skipped_among
from dagcelery.engine.hooks import Listener
from dagcelery.engine.interrupts import is_leaving, this_process
from dagcelery.engine.io import Reader, Rows
from dagcelery.engine.pieces import enter, executing_claim
from dagcelery.engine.run_view import RunView
from dagcelery.errors import TimeLimitExceeded
from dagcelery.planner.plan import Plan, Step
from dagcelery.settings import Settings
from dagcelery.store.records import Claim, TaskResult

_GRACE_SECONDS: Final = 1.0
"""Behind a hard limit, at which a coroutine is cancelled, the kernel ends a process whose loop does not get to that."""

_GATHER_SECONDS: Final = 0.001
"""What ends within this time is committed together."""

Ended = tuple[Claim, TaskResult]


class Awaited(Execution):
    """The execution of one piece: begun, awaited by `Lanes`, and ended."""

    def __init__(
        self,
        view: RunView,
        claim: Claim,
        settings: Settings,
        check: Callable[[Plan], object],
        listener: Listener | None,
        rows: Callable[[], Rows],
    ) -> None:
        super().__init__(view, claim, settings, check, listener)
        self.claim = claim
        self.limit: Limit | None = None
        self.context = self._contexts.new()
        self.outcome: Callable[[], Any] = _raising(RuntimeError("the coroutine was not awaited"))
        self._rows = rows
        self._calls: Iterable[dict[str, Any]] = ()
        self._recollection: Recollection | None = None
        self._error: BaseException | None = None
        self._waited: float | None = None
        self._process = os.getpid()

    def begin(self) -> Coroutine[Any, Any, Any] | None:
        """Call the function; return what has to be awaited before the end, None if there is nothing."""
        try:
            return self._contexts.new().run(self._begin)
        except BaseException as error:
            if self._is_not_its_fault(error):
                raise
            self._error = error
            return None

    def _begin(self) -> Coroutine[Any, Any, Any] | None:
        view, claim = self._view, self._claim
        view.trust(claim.scope)
        step = self._own_step()
        if claim.lo >= 0:
            self._check_size(step)
        calls, self._recollection = self._prepared(step, [self._rows().item(claim.lo)])
        self._calls = [arguments] = list(calls)
        is_skipped = view.program.may_skip and skipped_among(arguments) is not None
        if is_skipped or (self._recollection is not None and self._recollection.is_kept(0)):
            return None
        function = view.program.callee(step)
        self.limit, self._limit = self._limit, None
        return self.context.run(self._coroutine, function, arguments)

    def _own_step(self) -> Step:
        return self._view.program.step(self._claim.scope.body, self._claim.step)

    def _coroutine(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Coroutine[Any, Any, Any] | None:
        enter((self._view, self._claim, self._claim.lo, self._tail))
        self._called = self._claim.lo
        super()._tell_before(self._claim.lo)
        try:
            returned = function(**arguments)
        except BaseException as error:
            if self._is_not_its_fault(error):
                raise
            self.outcome = _raising(error)
            return None
        if type(returned) is CoroutineType:
            return self._timed(returned)
        self.outcome = lambda: returned  # the code here is not that of the plan
        return None

    async def _timed(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Await the function's coroutine; what others did before that is none of its time."""
        self._started, self._clock = time.time(), time.perf_counter()
        try:
            returned = await coroutine
        except BaseException as error:
            if os.getpid() != self._process:
                leave_child(error)
            raise
        finally:
            self._waited = time.perf_counter() - self._clock
        if os.getpid() != self._process:
            leave_child()
        return returned

    def end(self) -> Ended:
        """Return what came of the piece, once its coroutine has ended."""
        pid = os.getpid()
        try:
            return self._claim, self._with_log(self._contexts.new().run(self._end))
        finally:
            if os.getpid() != pid:
                leave_child()

    def _end(self) -> TaskResult:
        try:
            if self._error is not None:
                return self._failed(self._error)
            return self._call_all(self._own_step(), self._calls, self._recollection)
        except BaseException as error:
            if self._is_not_its_fault(error):
                raise
            return self._failed(error)

    def _called_by(self, step: Step) -> Callable[..., Any]:
        return lambda **_: self.outcome()

    def _new_context(self) -> Context:
        return self.context

    def _tell_before(self, index: int) -> None:
        """It was told when the coroutine was made."""

    def seconds(self) -> float:
        """Return how long its coroutine took."""
        return super().seconds() if self._waited is None else self._waited


def _raising(error: BaseException) -> Callable[[], Any]:
    def outcome() -> Any:
        raise error

    return outcome


class Lanes:
    """What this thread awaits side by side, `most` pieces. What a piece leaves running is cancelled when it ends."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept = loop_of_thread()
        self._loop = self._kept.loop
        self._awaited: dict[asyncio.Task[Any], Awaited] = {}
        self._ended = deque[tuple[Awaited, asyncio.Task[Any] | None]]()
        self._left: dict[int, WeakSet[asyncio.Future[Any]]] = {}
        self._stopping: asyncio.TimerHandle | None = None
        self._limits: dict[asyncio.Task[Any], tuple[list[asyncio.TimerHandle], float | None]] = {}
        self._reached: dict[asyncio.Task[Any], Exception] = {}

    def __enter__(self) -> Lanes:
        self._kept.is_shared = True
        self._replaced = self._loop.get_task_factory()
        self._loop.set_task_factory(self._noted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what is still awaited: this process leaves, or cannot say what came of it."""
        self._kept.is_shared = False
        if not self._kept.can_run:  # closed, or another process's
            return
        self._loop.set_task_factory(self._replaced)
        awaited = list(self._awaited)
        for task in awaited:
            self._forget_limits(task)
            task.remove_done_callback(self._note)
        self._awaited.clear()
        self._kept.tidy()
        for task in awaited:
            if task.done() and not task.cancelled():
                task.exception()  # nobody else asks for it, and asyncio would log it

    def __len__(self) -> int:
        return len(self._awaited) + len(self._ended)

    @property
    def free(self) -> int:
        """How many pieces more it takes."""
        return self.most - len(self)

    def start(self, piece: Awaited) -> None:
        """Begin a piece."""
        coroutine = piece.begin()
        if coroutine is None:
            self._ended.append((piece, None))
            return
        task = self._loop.create_task(coroutine, context=piece.context)
        self._awaited[task] = piece
        task.add_done_callback(self._note)
        if piece.limit is not None:
            self._limit(task, piece.limit)

    def wait(self, seconds: float | None) -> list[Ended]:
        """Run the loop until a piece has ended, or for so long; return what came of those that have."""
        if not self._ended:
            timer = None if seconds is None else self._loop.call_later(seconds, self._loop.stop)
            try:
                self._run(is_patient=seconds is None)
            finally:
                for each in (timer, self._stopping):
                    if each is not None:
                        each.cancel()
        return [self._end(*self._ended.popleft()) for _ in range(len(self._ended))]

    # -- the loop ---------------------------------------------------------------------------------
    def _run(self, *, is_patient: bool) -> None:
        pid = os.getpid()
        while True:
            try:
                with self._killed():
                    self._loop.run_forever()
            except BaseException as error:  # an exit that a piece raised passes through the loop, and is its outcome
                if os.getpid() != pid:
                    leave_child(error)
                if is_leaving(error) or not isinstance(error, SystemExit | KeyboardInterrupt):
                    raise
            if self._ended or not is_patient:  # else a piece has stopped the loop
                return

    def _noted(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        """Make a task, and note which piece it belongs to."""
        make = self._replaced
        task = asyncio.Task(coroutine, loop=loop, **options) if make is None else make(loop, coroutine, **options)
        claim = executing_claim()
        if claim is not None:
            self._left.setdefault(id(claim), WeakSet()).add(task)
        return task

    def _note(self, task: asyncio.Task[Any]) -> None:
        piece = self._awaited.pop(task, None)
        if piece is not None:
            self._ended.append((piece, task))
        if not self._awaited:
            self._loop.stop()
        elif len(self._ended) == 1:
            self._stopping = self._loop.call_later(_GATHER_SECONDS, self._loop.stop)

    def _end(self, piece: Awaited, task: asyncio.Task[Any] | None) -> Ended:
        if task is not None:
            piece.outcome = self._outcome(piece, task)
            self._forget_limits(task)
        ended = piece.end()
        for left in self._left.pop(id(piece.claim), ()):
            if left is not task and not left.done():
                left.cancel()
        return ended

    def _outcome(self, piece: Awaited, task: asyncio.Task[Any]) -> Callable[[], Any]:
        """Return what hands out a coroutine's result. It may catch its cancelling, as a function may catch a limit."""
        reached = self._reached.pop(task, None)
        if reached is not None and (not task.done() or task.cancelled()):
            return _raising(reached)
        hard = piece.limit.hard if piece.limit is not None else None
        if hard is not None and piece.seconds() > hard and not _failed(task):
            return _raising(TimeLimitExceeded(hard))
        return task.result

    # -- limits -----------------------------------------------------------------------------------
    def _limit(self, task: asyncio.Task[Any], limit: Limit) -> None:
        timers, hard = list[asyncio.TimerHandle](), limit.hard
        if limit.soft is not None:
            soft = this_process().soft_time_limit
            timers.append(self._loop.call_later(limit.soft, self._overrun, task, soft))
        if hard is not None:
            timers.append(self._loop.call_later(hard, self._overrun, task, lambda: TimeLimitExceeded(hard)))
        self._limits[task] = timers, None if hard is None else time.monotonic() + hard

    def _forget_limits(self, task: asyncio.Task[Any]) -> None:
        timers, _ = self._limits.pop(task, ((), None))
        for timer in timers:
            timer.cancel()

    def _overrun(self, task: asyncio.Task[Any], error: Callable[[], Exception]) -> None:
        if task in self._awaited:
            self._reached[task] = error()
            task.cancel()
            timer = self._loop.call_later(CANCEL_SECONDS, self._abandon, task)
            self._limits[task][0].append(timer)

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        """Wait no longer for a coroutine that does not let itself be cancelled."""
        if task in self._awaited:
            self._note(task)

    def _killed(self) -> AbstractContextManager[None]:
        """Let the kernel end this process if a coroutine stays behind its hard limit and keeps the loop from seeing it.

        Nobody else is charged with that, nor is it: which one it was shows when each is executed alone.
        """
        ends = [end for _, end in self._limits.values() if end is not None]
        if not ends or threading.current_thread() is not threading.main_thread():
            return nullcontext()
        if not this_process().is_pool_child():
            return nullcontext()
        return killed_after(max(0.001, min(ends) + _GRACE_SECONDS - time.monotonic()))


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None


def can_await() -> bool:
    """Return whether this thread may await pieces: it is not within one that is awaited, and makes a run of its own."""
    return asyncio._get_running_loop() is None and not loop_of_thread().is_shared


def awaited(
    view: RunView, granted: Claim, settings: Settings, check: Callable[[Plan], object], listener: Listener | None
) -> Iterator[Awaited]:
    """Yield the pieces of a claim that was granted for several: items of one range, or a step that runs once."""
    rows: list[Rows] = []

    def read() -> Rows:  # once for all: they are in the same blocks
        if not rows:
            step = view.program.step(granted.scope.body, granted.step)
            reader = Reader(view, granted.scope, granted)
            if granted.lo < 0:
                reader.read_ahead(expr for _, expr in step.arguments)
            rows.append(Rows(reader, step, granted.lo, granted.hi))
        return rows[0]

    several = (replace(granted, lo=lo, hi=lo + 1, values={}, blocks={}) for lo in range(granted.lo, granted.hi))
    for claim in several if granted.lo >= 0 else [granted]:
        yield Awaited(view, claim, settings, check, listener, read)
