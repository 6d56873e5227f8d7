"""A thread that notices pieces which take longer than a heartbeat, while the thread that executes them cannot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dagcelery.runtime.telling import quiet_logger

log = quiet_logger(__name__)


class Watch:
    """Calls back, once each, for what is still going on after `seconds`. The thread starts with the first use."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._armed: dict[int, tuple[float, Callable[[], None]]] = {}
        self._busy = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback` from the watch's thread if the block takes longer than the heartbeat.

        A heartbeat that is longer than threads can wait means that there is nobody to tell, and needs no thread.
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
            now = time.monotonic()
            if not self._armed:
                self._busy.clear()
                if self._armed:  # by somebody who came in between
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
