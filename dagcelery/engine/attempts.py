"""Calls of users' functions: within time limits, on a thread's event loop, and what follows from a failure.

A limit is kept by the process itself. Celery's own limits are a message's, and many pieces share a message; its timers
also stand still while the broker is away. The hard limit is the kernel's interval timer with SIGALRM's default action,
so it also ends a function that never gives Python a chance to run a signal handler. The worker's main process sees how
its child died.

The event loop of a thread is kept from piece to piece, with the clients that were opened in it, and without tasks.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, Final, NoReturn

from dagcelery.engine.interrupts import is_leaving, quiet_logger, this_process
from dagcelery.errors import DagceleryError, NotStarted, PieceDied, TimeLimitExceeded
from dagcelery.planner.plan import is_time_limit_retried
from dagcelery.store.records import RETURNS_A_DEATH

log = quiet_logger(__name__)

CANCEL_SECONDS = 5.0
"""How long a coroutine that is cancelled may take to end."""


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end; in a thread beside this one if an event loop is running in this one."""
    context = copy_context()
    if asyncio._get_running_loop() is None:
        return _run(coroutine, context)
    loops: list[Loop] = []
    future = _beside().submit(_run, coroutine, context, loops)
    try:
        return future.result()
    except BaseException:
        if not future.done():  # this thread was interrupted, and nothing may run on in the other one
            for loop in loops:
                loop.interrupt()
            wait([future], timeout=CANCEL_SECONDS)
        raise


class Loop:
    """Runs one coroutine after another. What a coroutine leaves running is cancelled when it ends."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._pid = os.getpid()
        self.task: asyncio.Task[Any] | None = None
        self.is_usable = True
        self.is_shared = False
        """Other pieces are awaited in it, which go on when this coroutine has ended."""

    def __del__(self) -> None:
        if not sys.is_finalizing() and self.can_run:  # then the threads that closing needs cannot start: it would wait
            with suppress(Exception):
                self._runner.close()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
        return self._runner.get_loop()

    @property
    def can_run(self) -> bool:
        """Whether it may run another coroutine: a task may have closed it, or left what cannot be cancelled."""
        return self.is_usable and not self.loop.is_closed() and self._pid == os.getpid()

    def run(self, coroutine: Coroutine[Any, Any, Any], context: Context) -> Any:
        """Run a coroutine to its end, as `asyncio.run` would."""
        self.task = task = self.loop.create_task(coroutine, context=context)
        task.add_done_callback(self._end)
        try:
            self.loop.run_forever()
            while self.is_shared and not task.done():  # another piece has ended
                self.loop.run_forever()
            return _result(task)
        except BaseException as error:
            if task.done() or self._pid != os.getpid():
                raise
            return self._cancelled(task, error)
        finally:
            self.task = None
            if self._pid == os.getpid():
                self._tidy(task)

    def _end(self, _: object) -> None:
        self.loop.stop()

    def interrupt(self) -> None:
        """Cancel the coroutine that runs, from another thread."""
        task = self.task
        if task is not None:
            self.loop.call_soon_threadsafe(task.cancel)

    def _cancelled(self, task: asyncio.Task[Any], error: BaseException) -> Any:
        """Cancel a task that a time limit met while it awaited. It may catch its cancelling, as a function may
        catch the limit.
        """
        task.remove_done_callback(self._end)
        task.cancel()
        self.loop.run_until_complete(asyncio.wait([task], timeout=CANCEL_SECONDS))
        if task.done() and not task.cancelled():
            return task.result()
        raise error

    def _await(self, ends: asyncio.Task[Any]) -> None:
        """Run the loop until tasks have ended, each of which may raise an exit through it, or stop it."""
        while not ends.done():
            try:
                self.loop.run_until_complete(ends)
            except BaseException as error:
                if is_leaving(error) or self.loop.is_closed():
                    raise
                log.warning("a task left in the event loop of a piece raised %r", error, extra={"action": "loop_left"})

    def _drop(self) -> None:
        self.is_usable = False
        with suppress(Exception):
            self.loop.close()

    def tidy(self) -> None:
        """Leave nothing that would go on running, or stop the loop, during the next coroutine."""
        self._tidy(None)

    def _tidy(self, task: asyncio.Task[Any] | None) -> None:
        try:
            self.loop.call_soon(self.loop.stop)  # where the task stopped it, the callback of its end still waits
            self.loop.run_forever()
            if task is not None and task.done() and not task.cancelled():
                task.exception()  # is raised elsewhere; asyncio would log it again
            left = set() if self.is_shared else asyncio.all_tasks(self.loop)
            for other in left:
                other.cancel()
            if left:
                self._await(self.loop.create_task(asyncio.wait(left, timeout=CANCEL_SECONDS)))
            stubborn = [other for other in left if not other.done()]
            if stubborn:
                about = {"action": "loop_left"}
                log.warning(
                    "%d asyncio tasks cannot be cancelled; they are left: %r", len(stubborn), stubborn, extra=about
                )
                self._drop()
        except BaseException as error:
            self._drop()
            if is_leaving(error):
                raise
            log.warning("an event loop is dropped after %r", error, extra={"action": "loop_dropped"})


def _result(task: asyncio.Task[Any]) -> Any:
    if task.done():
        return task.result()
    raise RuntimeError("Event loop stopped before Future completed.")  # as asyncio.run says it


_kept = threading.local()


def loop_of_thread() -> Loop:
    """Return the loop that this thread keeps."""
    loop: Loop | None = getattr(_kept, "loop", None)
    if loop is None or not loop.can_run:
        loop = _kept.loop = Loop()
    return loop


def _run(coroutine: Coroutine[Any, Any, Any], context: Context, loops: list[Loop] | None = None) -> Any:
    loop = loop_of_thread()
    if loops is not None:
        loops.append(loop)
    return loop.run(coroutine, context)


def _beside() -> ThreadPoolExecutor:
    """Return a second thread for coroutines, since an event loop is running in this one; a fork does not inherit it."""
    beside: tuple[int, ThreadPoolExecutor] | None = getattr(_kept, "beside", None)
    if beside is None or beside[0] != os.getpid():
        beside = _kept.beside = os.getpid(), ThreadPoolExecutor(1, "dagcelery-loop")
    return beside[1]


HARD_SIGNAL: Final = "SIGALRM"
"""How a process ends that ran over a hard limit."""

_AT_ONCE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Limit:
    """Seconds until an attempt is ended; None does not limit it."""

    soft: float | None = None
    hard: float | None = None


def limit_of(options: Mapping[str, Any]) -> Limit | None:
    """Return the limits that a step's options set, or None."""
    return Limit(**options["timeout"]) if "timeout" in options else None


@contextmanager
def limited(limit: Limit) -> Iterator[None]:
    """Keep the block within a limit.

    In a child of a prefork pool a hard limit ends the process; in another main thread both limits raise, in turn. In
    other threads, where a function cannot be interrupted, one that took too long fails when it has returned.
    """
    hard = limit.hard
    started = time.monotonic()
    if threading.current_thread() is not threading.main_thread():
        yield
    elif this_process().is_pool_child():
        with killed_after(hard), _signalled_after(limit.soft):
            yield
    else:
        with _interrupted_after(limit):
            yield
    if hard is not None and time.monotonic() - started > hard:
        raise TimeLimitExceeded(hard)


@contextmanager
def _alarmed(seconds: float, handler: Any) -> Iterator[None]:
    """Set the kernel's timer for the time of the block; one that was set around it goes on after it."""
    began = time.monotonic()
    replaced, (outer, interval) = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0)  # the outer one is not to meet this handler
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, seconds)  # may raise at once
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, replaced if replaced is not None else signal.SIG_DFL)
        if outer:
            signal.setitimer(signal.ITIMER_REAL, max(_AT_ONCE, outer - (time.monotonic() - began)), interval)


@contextmanager
def killed_after(seconds: float | None) -> Iterator[None]:
    """Let the kernel end this process if the block takes longer."""
    if seconds is None:
        yield
    else:
        with _alarmed(seconds, signal.SIG_DFL):
            yield


@contextmanager
def _signalled_after(seconds: float | None) -> Iterator[None]:
    """Send this thread the signal that a pool sends for a soft limit, and raise the error for it."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1))
    timer.daemon = True
    replaced = signal.signal(signal.SIGUSR1, _raise_soft_limit)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGUSR1, replaced if replaced is not None else signal.SIG_DFL)


@contextmanager
def _interrupted_after(limit: Limit) -> Iterator[None]:
    """Raise at both limits, one after the other: a function may catch the soft one and go on."""
    errors: dict[float, Callable[[], Exception]] = {}
    soft, hard = limit.soft, limit.hard
    if soft is not None:
        errors[soft] = this_process().soft_time_limit
    if hard is not None:
        errors[hard] = lambda: TimeLimitExceeded(hard)
    limits, began = sorted(errors), time.monotonic()

    def interrupt(signum: int, frame: Any) -> None:
        reached = limits.pop(0)
        if limits:
            signal.setitimer(signal.ITIMER_REAL, max(_AT_ONCE, began + limits[0] - time.monotonic()))
        raise errors[reached]()

    with _alarmed(limits[0], interrupt):
        yield


def _raise_soft_limit(signum: int, frame: Any) -> None:
    raise this_process().soft_time_limit()


def is_retryable(error: BaseException, options: Mapping[str, Any]) -> bool:
    """Return whether a task's policy covers an error. Classes are told by name: none is imported for it.

    dagcelery's own errors (a result that cannot be serialized, say) come again each time; they are retried only by a
    policy that names them. A time limit counts as what it would be taken for where it had ended the process.
    """
    policy = options.get("retry")
    if policy is None:
        return False
    if isinstance(error, TimeLimitExceeded):
        return is_time_limit_retried(policy)
    names = [f"{kind.__module__}:{kind.__qualname__}" for kind in type(error).__mro__]
    if isinstance(error, DagceleryError):
        names = [name for name in names if name.startswith("dagcelery.")]
    return not set(names).isdisjoint(policy["on"]) and set(names).isdisjoint(policy["give_up_on"])


def verdict(
    poisoned: str, options: Mapping[str, Any], queue: str, *, deaths: int, is_served: bool, lacking: str = ""
) -> DagceleryError:
    """Return the error that a poisoned piece fails with; `lacking` is what a worker of its queue lacks for it."""
    if poisoned == "timeout":
        return TimeLimitExceeded(options["timeout"]["hard"])
    if poisoned == "start_within":
        return NotStarted(queue, options["start_within"], is_served, lacking)
    return died(poisoned, deaths)


def died(poisoned: str, deaths: int) -> PieceDied:
    """Return the error of a piece that was lost as often as it may be, by deaths or alive."""
    return PieceDied(deaths * RETURNS_A_DEATH, "returned") if poisoned == "returned" else PieceDied(deaths)


class _Forks:
    """Identifies this process; a fork changes it. Asking the kernel would cost as much as a small call."""

    self = object()


def _forked() -> None:
    _Forks.self = object()


os.register_at_fork(after_in_child=_forked)


def call(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call a function; a coroutine that it returns is run to its end.

    Where the function forks and the child returns as well, the child ends here: it holds no claim.
    """
    process = _Forks.self
    try:
        returned = function(**arguments)
        if type(returned) is CoroutineType:
            returned = finished(returned)
    except BaseException as error:
        if _Forks.self is not process:
            leave_child(error)
        raise
    if _Forks.self is not process:
        leave_child()
    return returned


def leave_child(error: BaseException | None = None) -> NoReturn:
    """End a child that a task forked, as Python would end it, but for what it has inherited: that is its parent's."""
    if isinstance(error, SystemExit):
        os._exit(error.code if isinstance(error.code, int) else int(error.code is not None))
    if error is not None:
        traceback.print_exception(error, file=sys.stderr)
        sys.stderr.flush()
    os._exit(int(error is not None))
