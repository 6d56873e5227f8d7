"""Calls of users' functions: within time limits, and what follows from a failure.

A limit is kept by the process itself. Celery's own limits are a message's, and many pieces share a message; its timers
also stand still while the broker is away. The hard limit is the kernel's interval timer with SIGALRM's default action,
so it also ends a function that never gives Python a chance to run a signal handler. The worker's main process sees how
its child died.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, Final, NoReturn

from dagcelery.engine.event_loops import finished
from dagcelery.engine.interrupts import this_process
from dagcelery.errors import DagceleryError, NotStarted, PieceDied, TimeLimitExceeded
from dagcelery.planner.plan import is_time_limit_retried
from dagcelery.store.records import RETURNS_A_DEATH

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
        with _killed_after(hard), _signalled_after(limit.soft):
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
def _killed_after(seconds: float | None) -> Iterator[None]:
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
