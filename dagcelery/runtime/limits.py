"""Time limits: a soft one raises in the function, a hard one ends its process, and what it ran fails.

A limit is kept by the process itself. Celery's own limits are a message's, and many pieces share a message; its timers
also stand still while the broker is away. The hard limit is the kernel's interval timer with SIGALRM's default action,
so it ends a function too that never gives Python a chance to run a signal handler. The worker's main process sees how
its child died.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from dagcelery.errors import TimeLimitExceeded

HARD_SIGNAL: Final = "SIGALRM"
"""How a process ends that ran over a hard limit."""

_AT_ONCE: Final = 1e-6

Limit = tuple[float | None, float | None]
"""Seconds: soft, hard; None where there is no limit."""


def of(options: Any) -> Limit | None:
    """The limits that a step's options set, or None."""
    found: Sequence[float | None] | None = options.get("timeout")
    return None if found is None else (found[0], found[1])


@contextmanager
def limited(limit: Limit) -> Iterator[None]:
    """Keep the block within a limit.

    In a child of a prefork pool a hard limit ends the process; in another main thread both limits raise, in turn. In
    other threads, where a function cannot be interrupted, one that took too long fails when it has returned.
    """
    soft, hard = limit
    started = time.monotonic()
    if threading.current_thread() is not threading.main_thread():
        yield
    elif _is_pool_child():
        with _killed_after(hard), _told_after(soft):
            yield
    else:
        with _interrupted_after(soft, hard):
            yield
    if hard is not None and time.monotonic() - started > hard:
        raise TimeLimitExceeded(hard)


def _is_pool_child() -> bool:
    process = sys.modules.get("billiard.process")
    return process is not None and type(process.current_process()).__name__ != "_MainProcess"


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
def _told_after(seconds: float | None) -> Iterator[None]:
    """Send this thread the signal that billiard raises SoftTimeLimitExceeded for."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1))
    timer.daemon = True
    replaced = signal.signal(signal.SIGUSR1, _raiser(_soft_error))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGUSR1, replaced if replaced is not None else signal.SIG_DFL)


@contextmanager
def _interrupted_after(soft: float | None, hard: float | None) -> Iterator[None]:
    """Raise at both limits, one after the other: a function may catch the soft one and go on."""
    errors: dict[float, Callable[[], Exception]] = {}
    if soft is not None:
        errors[soft] = _soft_error
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


def _raiser(error: Callable[[], Exception]) -> Callable[[int, Any], None]:
    def interrupt(signum: int, frame: Any) -> None:
        raise error()

    return interrupt


def _soft_error() -> Exception:
    from celery.exceptions import SoftTimeLimitExceeded

    told: Exception = SoftTimeLimitExceeded()
    return told
