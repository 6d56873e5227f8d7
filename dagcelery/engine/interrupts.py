"""Interrupts: a signal ends the process, while listeners and logs cannot disturb a piece.

An exception's class does not say whether a signal or a task raised it, so the handlers of the signals that end a
process leave a note while messages are worked on. The road not taken: a look at the traceback, in which a
KeyboardInterrupt that `asyncio.run` passes on looks like one that a task raised.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, TypeVar

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
)


class _Note:
    """What the handlers of this process's main thread have left; `is_kept` while they do so."""

    is_kept = False
    raised: BaseException | None = None


_note = _Note()


class EngineProcess:
    """What the engine has to know of the process that it runs in; a worker's has more to say."""

    def soft_time_limit(self) -> Exception:
        """Return the exception to raise within a function that reached its soft time limit."""
        return TimeoutError("the soft time limit is reached")

    def is_pool_child(self) -> bool:
        """Return whether a main process looks after this one, and sees how it ends."""
        return False

    def is_exiting(self, error: BaseException) -> bool:
        """Return whether an exit that left no note ends this process."""
        return False


class _Here:
    process = EngineProcess()


_here = _Here()


def run_in(process: EngineProcess) -> None:
    """Set what this process is."""
    _here.process = process


def this_process() -> EngineProcess:
    """Return what this process is."""
    return _here.process


class _Noting:
    """A handler that calls the one which it replaces, and notes that it raised."""

    def __init__(self, handler: Callable[[int, Any], Any]) -> None:
        self.handler = handler

    def __call__(self, signum: int, frame: Any) -> Any:
        try:
            return self.handler(signum, frame)
        except BaseException as error:
            _note.raised = error
            raise


@contextmanager
def noted() -> Iterator[None]:
    """Let signals leave a note for the time of the block; the handlers stay those of their owners."""
    if _note.is_kept or threading.current_thread() is not threading.main_thread():
        yield
        return
    replaced: list[tuple[int, _Noting]] = []
    _note.is_kept = True
    try:
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                noting = _Noting(handler)
                signal.signal(number, noting)
                replaced.append((number, noting))
        yield
    finally:
        for number, put in replaced:
            is_there = signal.getsignal(number) is put  # else a task or Celery has put another one there
            if is_there:
                signal.signal(number, put.handler)
        _note.is_kept, _note.raised = False, None


def is_leaving(error: BaseException) -> bool:
    """Return whether an error ends this process, and not just the piece that it hit: by an interrupt of the
    user, or because Celery stops the worker. What a task raises itself, also an exit, only fails its piece.
    """
    if threading.current_thread() is not threading.main_thread():
        return False  # signals interrupt no other thread
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt | SystemExit):
        if cause is _note.raised:  # a handler may raise anything, and Celery's under the pool solo does
            return True
        cause = cause.__cause__
    return cause is not None and (_note.raised is not None or _here.process.is_exiting(cause))


T = TypeVar("T")

_LISTENER_FAILED: Final = {"action": "listener_failed"}


class QuietLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose handlers and filters cannot raise in the code that logs."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Leave `extra` as the call has it."""
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log, as if this method was not there."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        try:
            super().log(level, msg, *args, **kwargs)
        except BaseException as error:
            if is_leaving(error):
                raise
            with suppress(Exception):  # where a log is broken, there is nowhere left to say so
                _last_resort.handle(_record_of(self.name, error))


_last_resort = logging.StreamHandler()


def _record_of(name: str, error: BaseException) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 0, "a log handler raised %r", (error,), None)


def quiet_logger(name: str) -> QuietLogger:
    """Return the logger of a module."""
    return QuietLogger(logging.getLogger(name), {})


log = quiet_logger(__name__)


def tell(
    listener: Callable[..., T],
    *args: Any,
    culprit: str = "a listener",
    about: Mapping[str, object] = _LISTENER_FAILED,
) -> T | None:
    """Call a listener here, in the context that it was called in; return None if it raised, which is logged."""
    try:
        return listener(*args)
    except BaseException as error:
        if is_leaving(error):
            raise
        log.exception("%s raised, which changes nothing: %r", culprit, listener, extra=about)
        return None


def tell_apart(listener: Callable[..., T], *args: Any, within: Context | None = None, **failure: Any) -> T | None:
    """Call a listener as `tell` does, in a context that is over by then or in a copy of this one, so that what it sets
    there is gone afterwards.
    """
    return (within or copy_context()).run(partial(tell, listener, *args, **failure))


class Watchdog:
    """Calls back, once each, for what is still going on after `seconds`. The thread starts with the first use."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._armed: dict[int, tuple[float, Callable[[], None]]] = {}
        self._busy = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback` from the watch's thread if the block takes longer than the hand-off time.

        With a hand-off time that is longer than threads can wait, this process has no others to tell.
        """
        if self._seconds > threading.TIMEOUT_MAX:
            yield
            return
        me = threading.get_ident()
        self._armed[me] = (time.monotonic() + self._seconds, callback)
        if self._thread is None or not self._thread.is_alive():
            self._start()
        self._busy.set()
        try:
            yield
        finally:
            self._armed.pop(me, None)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="dagcelery-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            self._busy.wait()
            time.sleep(self._seconds)
            self._look()

    def _look(self) -> None:  # on its own, lest the thread hold the last run that it was called for until the next one
        now = time.monotonic()
        if not self._armed:
            self._busy.clear()
            if self._armed:  # by a thread that came in between
                self._busy.set()
        for thread, (at, callback) in list(self._armed.items()):
            if now >= at and self._armed.pop(thread, None) is not None:
                _attempt(callback)


def _attempt(callback: Callable[[], None]) -> None:
    """Call back; an outage of store or broker must not end the watch."""
    try:
        callback()
    except BaseException:  # in a thread of its own no signal raises
        log.exception("others could not be told of ready work", extra={"action": "tell_failed"})
