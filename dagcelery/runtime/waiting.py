"""Waiting for the end of a run, blocking or not. Whoever waits notices its deadline: perhaps no worker is there to."""

from __future__ import annotations

import asyncio
import threading
import time

from dagcelery.errors import RunNotFound
from dagcelery.runtime.engine import Engine
from dagcelery.store.records import TERMINAL, Lost

GLANCE_SECONDS = 5.0
"""How long nobody looks whether a deadline has passed."""


class Patience:
    """How long to wait for a run, glance by glance; `seconds` until the next one."""

    def __init__(self, engine: Engine, run_id: str, timeout: float | None) -> None:
        self._engine = engine
        self._run_id = run_id
        self._until = time.monotonic() + (threading.TIMEOUT_MAX if timeout is None else timeout)
        self.seconds = 0.0
        self._take()

    def _take(self) -> float:
        left = self._until - time.monotonic()
        self.seconds = max(0.0, min(left, GLANCE_SECONDS))
        return left

    def is_exhausted(self, state: str) -> bool:
        """Whether to wait no longer for a run in this state. Raises RunNotFound."""
        if state == "gone":
            raise RunNotFound(self._run_id)
        if state in TERMINAL or self._take() <= 0:
            return True
        notice_deadline(self._engine, self._run_id)
        return False


def notice_deadline(engine: Engine, run_id: str) -> None:
    """End a run that is past its deadline."""
    record = engine.store.reader.record(run_id)
    if record is not None and record.deadline and not record.is_over:
        swept = engine.store.machine.sweep(run_id, Lost(), engine.settings.dead_seconds, engine.settings.max_deaths)
        if swept.lasted is not None:
            engine.tell_end(run_id, swept.run, swept.lasted)


def wait(engine: Engine, run_id: str, timeout: float | None) -> str:
    """Wait up to `timeout` seconds (None: for ever) until a run is over; its state then. Raises RunNotFound."""
    patience = Patience(engine, run_id, timeout)
    with engine.store.reader.listening(run_id) as listen:
        while not patience.is_exhausted(state := listen(patience.seconds)):
            pass
    return state


async def await_end(engine: Engine, run_id: str, timeout: float | None) -> str:
    """`wait` without blocking the event loop; while it waits it takes no thread."""
    patience = Patience(engine, run_id, timeout)
    async with engine.store.reader.alistening(run_id) as listen:
        while not await asyncio.to_thread(patience.is_exhausted, state := await listen(patience.seconds)):
            pass
    return state
