"""Whether this process was asked to leave: an exception's class does not say whether a signal or a task raised it.

So the handlers of the signals that end a process leave a note while messages are worked on. The road not taken: a look
at the traceback, in which a KeyboardInterrupt that `asyncio.run` passes on looks like one that a task raised.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
)


class _Note:
    """What the handlers of this process's main thread have left; `is_kept` while they do so."""

    is_kept = False
    raised: BaseException | None = None


_note = _Note()


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
    """Let signals leave a note for the time of the block; the handlers stay whose they are."""
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
        for given, noted_by in replaced:
            is_there = signal.getsignal(given) is noted_by  # else a task or Celery has put another one there
            if is_there:
                signal.signal(given, noted_by.handler)
        _note.is_kept, _note.raised = False, None


def is_leaving(error: BaseException) -> bool:
    """Whether an error ends this process, and not just the piece that it hit: the user interrupts it, or Celery stops
    this worker. An error that a task raises itself, also an exit or an interrupt, is a failure of its piece.
    """
    if threading.current_thread() is not threading.main_thread():
        return False  # signals interrupt no other thread
    found: BaseException | None = error
    while found is not None and not isinstance(found, KeyboardInterrupt | SystemExit):
        if found is _note.raised:  # a handler may raise anything, and Celery's under the pool solo does
            return True
        found = found.__cause__
    return found is not None and (_note.raised is not None or _is_pool_exit() or _is_worker_exit(found))


def _is_pool_exit() -> bool:
    # billiard's handler of SIGTERM may have been set after the note began to be kept.
    pool = sys.modules.get("billiard.common")
    return bool(pool and pool._should_have_exited[0])


def _is_worker_exit(error: BaseException) -> bool:
    # So may Celery's handlers: each shutdown that it begins replaces them by those of the next, harder one.
    return type(error).__module__.startswith("celery.") and is_worker_stopping()


def is_worker_stopping() -> bool:
    """Whether the worker that this process is the main process of was told to stop."""
    state = sys.modules.get("celery.worker.state")
    asked = (state.should_stop, state.should_terminate) if state is not None else ()
    return any(each is not None and each is not False for each in asked)
