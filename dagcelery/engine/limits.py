"""Limits of active runs of a DAG, and of pieces of a task: their places are kept in the store.

The place of a run that is over, or of a piece whose claim is gone, is taken away as soon as another needs it, so a
death blocks others only until it is noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dagcelery.engine.run_view import RunView
from dagcelery.store.protocol import Store
from dagcelery.store.records import Claim, PieceId, ReadyStep

Quota = tuple[str, int]
"""The name of a limit, and how many may be inside."""


class Sender(Protocol):
    """Brings workers to a run."""

    def start(self, view: RunView, opened: Sequence[ReadyStep], *, is_new: bool = False) -> None:
        """Send what these steps need: chords, chains, plain messages. A run that `is_new` waits for earlier ones."""

    def wake_up(self, run_id: str, queue: str, count: int, delay_seconds: float = 0.0) -> None:
        """Send `count` messages that there is ready work of a run on a queue, to arrive after `delay_seconds`."""

    def slots(self, queue: str) -> int:
        """Return how many processes consume a queue, at least 1."""

    def revoke(self, messages: Sequence[str], *, terminate: bool) -> None:
        """Take back messages that have not been begun; `terminate` the processes of those that have."""


class Quotas:
    """Takes and gives places. `patience_seconds` is how long a blocked step waits if nothing unblocks it earlier."""

    def __init__(self, store: Store, sender: Sender, patience_seconds: float) -> None:
        self._store = store
        self._sender = sender
        self._patience = patience_seconds

    # -- runs -------------------------------------------------------------------------------------
    def enter(self, view: RunView) -> bool:
        """Let a run become active, or wait; a DAG without a limit lets all of its runs in."""
        quota = view.program.run_quota
        if quota is None:
            return True
        limit, most = quota
        entered = self._store.fleet.enter(limit, view.run_id, view.run_id, most)
        if not entered and (gone := self._runs_gone(limit)):
            entered = self._store.fleet.enter(limit, view.run_id, view.run_id, most, gone)
        return entered

    def leave(self, view: RunView) -> Sequence[str]:
        """Give the place of a run back that is over. Return the runs that may try to become active."""
        quota = view.program.run_quota
        return () if quota is None else self._store.fleet.leave(quota[0], view.run_id, quota[1])

    def _runs_gone(self, limit: str) -> list[str]:
        records = {run_id: self._store.reader.record(run_id) for run_id in self._store.fleet.inside(limit)}
        return [run_id for run_id, record in records.items() if record is None or record.is_over]

    # -- pieces -----------------------------------------------------------------------------------
    def take(self, quota: Quota, view: RunView, claim: Claim, queue: str, owner: str) -> bool:
        """Take a place for a claimed piece; where there is none the piece is given back, and its step is blocked."""
        fleet, (limit, most) = self._store.fleet, quota
        member, waiter = _member(view, claim, owner), _waiter(view, claim, queue)
        if fleet.enter(limit, member, waiter, most):
            return True
        gone = [other for other in fleet.inside(limit) if not self._is_held(other)]
        if gone and fleet.enter(limit, member, waiter, most, gone):
            return True
        self._store.machine.block(view.run_id, claim, owner, self._patience)
        # A place that was given back before the step was blocked has unblocked nothing.
        if fleet.enter(limit, member, waiter, most):
            self.give(quota, view, claim, owner)
            self._unblock(waiter)
        return False

    def _is_held(self, member: str) -> bool:
        run_id, piece, owner = member.split("|")
        return self._store.reader.claimed(run_id, piece) == owner

    def give(self, quota: Quota, view: RunView, claim: Claim, owner: str) -> None:
        """Give a place back, and unblock the steps that wait for one."""
        for waiter in self._store.fleet.leave(quota[0], _member(view, claim, owner), quota[1]):
            self._unblock(waiter)

    def _unblock(self, waiter: str) -> None:
        run_id, queue, step = waiter.split("|")
        if self._store.machine.unblock(run_id, step).opened:
            self._sender.wake_up(run_id, queue, 1)


def _member(view: RunView, claim: Claim, owner: str) -> str:
    return f"{view.run_id}|{claim.piece}|{owner}"


def _waiter(view: RunView, claim: Claim, queue: str) -> str:
    return f"{view.run_id}|{queue}|{PieceId(claim.scope.id, claim.step).name}"
