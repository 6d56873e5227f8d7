"""When a worker's main process forks: its children are made while threads of its own beat, sweep and import.

A child has none of these threads, but each lock that one of them held at that moment, for ever; that of a module which
was being imported, too. A worker replaces children all the time with ``--max-tasks-per-child``, and grows with
``--autoscale``. So a fork waits until no thread is within an `Undisturbed` block, though not for one that an outage
holds up: the main process has other things to do.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Self
from weakref import WeakSet

_PATIENCE_SECONDS = 1.0


class Undisturbed:
    """A block of one thread in the middle of which this process does not fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        _blocks.add(self)

    def __enter__(self) -> Self:
        self.lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()


_blocks: WeakSet[Undisturbed] = WeakSet()
_held: list[threading.Lock] = []


def _before() -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    waited_for = (block.lock for block in list(_blocks))
    _held.extend(lock for lock in waited_for if lock.acquire(timeout=max(0.0, until - time.monotonic())))


def _after_in_parent() -> None:
    while _held:
        _held.pop().release()


def _after_in_child() -> None:
    _held.clear()
    for block in list(_blocks):
        block.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
