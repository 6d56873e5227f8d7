"""When a worker's main process forks: its children are made while threads of its own beat, sweep and import.

A child has none of these threads, but each lock that one of them held at that moment, for ever; that of a module which
was being imported, too. A worker replaces children all the time with ``--max-tasks-per-child``, and grows with
``--autoscale``. So a fork waits until no thread is in the middle of something, and none begins meanwhile. It does not
wait for ever for one that an outage holds up, since the main process has other things to do: but longer than a thread
that only lacks a processor takes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE_SECONDS = 5.0


class _Gate:
    """Where threads wait that would begin something while this process forks."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all threads, and what they held: a child has none of them."""
        self.changed = threading.Condition()
        self.inside = set[int]()
        self.is_forking = False

    def enter(self) -> None:
        """Note that this thread is in the middle of something."""
        with self.changed:
            self.changed.wait_for(lambda: not self.is_forking)
            self.inside.add(threading.get_ident())

    def leave(self) -> None:
        """Note that it is not any more."""
        with self.changed:
            self.inside.discard(threading.get_ident())
            self.changed.notify_all()


_gate = _Gate()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let this process not fork while this thread is within the block."""
    _gate.enter()
    try:
        yield
    finally:
        _gate.leave()


def let_fork() -> None:
    """Let a fork take place that waits for this thread: it is between two things."""
    if _gate.is_forking and threading.get_ident() in _gate.inside:
        _gate.leave()
        _gate.enter()


def _before() -> None:
    mine = {threading.get_ident()}
    _gate.changed.acquire()
    _gate.is_forking = True
    _gate.changed.wait_for(lambda: _gate.inside <= mine, _PATIENCE_SECONDS)


def _after_in_parent() -> None:
    _gate.is_forking = False
    _gate.changed.notify_all()
    _gate.changed.release()


def _after_in_child() -> None:
    _gate.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
