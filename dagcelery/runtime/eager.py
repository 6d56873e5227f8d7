"""The engine in this process: messages are a list, and a loop delivers them one by one, so no depth is too deep."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from dagcelery.runtime.engine import Engine
from dagcelery.runtime.reading import RunView
from dagcelery.settings import Settings
from dagcelery.store.records import ReadyStep

_FOR_EVER = 1e10
"""Seconds."""


class Mailbox:
    """A `Sender` that keeps messages until the loop delivers them."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, str]] = deque()
        self._later: list[tuple[float, str, str]] = []

    def start(self, view: RunView, opened: Sequence[ReadyStep], *, is_new: bool = False) -> None:
        """One visit a queue is enough where one worker does everything."""
        for queue in dict.fromkeys(step.queue for step in opened):
            self._waiting.append((view.run_id, queue))

    def visit(self, run_id: str, queue: str, count: int, delay_seconds: float = 0.0) -> None:
        """Keep a message, until it is due."""
        if delay_seconds:
            heapq.heappush(self._later, (time.monotonic() + delay_seconds, run_id, queue))
        else:
            self._waiting.append((run_id, queue))

    def revoke(self, messages: Sequence[str], *, terminate: bool) -> None:
        """Nobody but this loop works on them."""

    def slots(self, queue: str) -> int:
        """This process."""
        return 1

    def deliver(self, engine: Engine) -> None:
        """Deliver messages, and those that they cause, until there are none."""
        while self._waiting or self._later:
            if self._waiting:
                engine.visit(*self._waiting.popleft())
            else:
                due, run_id, queue = heapq.heappop(self._later)
                time.sleep(max(0.0, due - time.monotonic()))
                self._waiting.append((run_id, queue))


def patient(settings: Settings) -> Settings:
    """Settings of a process that has nobody to hand work to: a visit lasts as long as there is work.

    Its store is in memory and goes with it, and so would nobody remove files.
    """
    return replace(settings, slice_seconds=_FOR_EVER, heartbeat_seconds=_FOR_EVER, spill_url="")
