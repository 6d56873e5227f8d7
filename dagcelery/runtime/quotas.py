"""How many runs of a DAG may be active, and how many pieces of a task may run, in all workers together.

A place is taken in the store before, and given back after; whoever finds none waits there, and who gives one back
wakes the first. A place is only as good as what took it: of a run that is over, or of a piece whose claim is gone, it
is taken away as soon as somebody else needs it. So a death holds up nobody for longer than it takes to notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dagcelery.runtime.reading import RunView
from dagcelery.store.protocol import Store
from dagcelery.store.records import Claim

if TYPE_CHECKING:
    from dagcelery.runtime.engine import Sender

Quota = tuple[str, int]
"""The name of a limit, and how many may be inside."""


class Quotas:
    """Takes and gives places. `patience_seconds` is how long a parked step waits where nobody wakes it."""

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
        """A run is over; answers the runs that may try to become active."""
        quota = view.program.run_quota
        return () if quota is None else self._store.fleet.leave(quota[0], view.run_id, quota[1])

    def _runs_gone(self, limit: str) -> list[str]:
        records = {run_id: self._store.reader.record(run_id) for run_id in self._store.fleet.inside(limit)}
        return [run_id for run_id, record in records.items() if record is None or record.is_over]

    # -- pieces -----------------------------------------------------------------------------------
    def take(self, quota: Quota, view: RunView, grant: Claim, queue: str, owner: str) -> bool:
        """Take a place for a claimed piece; where there is none the piece is given back, and its step is parked."""
        step = f"{grant.scope.id}/{grant.step}"
        if self._taken(quota, view, grant, queue, owner):
            return True
        self._store.machine.block(view.run_id, grant, owner, self._patience)
        # A place that was given back before the step was parked woke nobody.
        if self._store.fleet.enter(quota[0], _member(view, grant, owner), _waiter(view, queue, step), quota[1]):
            self.give(quota, view, grant, owner)
            self._wake(_waiter(view, queue, step))
        return False

    def _taken(self, quota: Quota, view: RunView, grant: Claim, queue: str, owner: str) -> bool:
        limit, most = quota
        member, waiter = _member(view, grant, owner), _waiter(view, queue, f"{grant.scope.id}/{grant.step}")
        if self._store.fleet.enter(limit, member, waiter, most):
            return True
        gone = [other for other in self._store.fleet.inside(limit) if not self._is_held(other)]
        return bool(gone) and self._store.fleet.enter(limit, member, waiter, most, gone)

    def _is_held(self, member: str) -> bool:
        run_id, piece, owner = member.split("|")
        return self._store.reader.claimed(run_id, piece) == owner

    def give(self, quota: Quota, view: RunView, grant: Claim, owner: str) -> None:
        """Give a place back, and wake who waits for one."""
        for waiter in self._store.fleet.leave(quota[0], _member(view, grant, owner), quota[1]):
            self._wake(waiter)

    def _wake(self, waiter: str) -> None:
        run_id, queue, step = waiter.split("|")
        if self._store.machine.unblock(run_id, step).opened:
            self._sender.visit(run_id, queue, 1)


def _member(view: RunView, grant: Claim, owner: str) -> str:
    return f"{view.run_id}|{grant.piece}|{owner}"


def _waiter(view: RunView, queue: str, step: str) -> str:
    return f"{view.run_id}|{queue}|{step}"
