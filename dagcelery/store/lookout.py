"""How runs in memory are looked at from outside: what happened, what has just happened, which runs there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial

from dagcelery.store.base import TERMINAL, AsyncListen, Counts, Event, Listed, Listen, Outstanding, Spot
from dagcelery.store.ledger import Ledger
from dagcelery.store.lobby import Lobby


class Lookout(Lobby):
    """Those verbs of `store.base.Store` that watch."""

    def __init__(self) -> None:
        super().__init__()
        self._runs: dict[str, Ledger] = {}

    def events(self, run_id: str, after: str, limit: int) -> Sequence[Event]:
        with self._changed:
            ledger = self._runs.get(run_id)
            return ledger.log[_number(after) : _number(after) + limit] if ledger else []

    def wait(self, run_id: str, timeout_seconds: float) -> str:
        return self._listen(run_id, timeout_seconds)

    @contextmanager
    def listening(self, run_id: str) -> Iterator[Listen]:
        yield partial(self._listen, run_id)

    @asynccontextmanager
    async def alistening(self, run_id: str) -> AsyncIterator[AsyncListen]:
        async def listen(timeout_seconds: float, after: str | None = None) -> str:
            return await asyncio.to_thread(self._listen, run_id, timeout_seconds, after)

        yield listen

    def _listen(self, run_id: str, timeout_seconds: float, after: str | None = None) -> str:
        def is_worth_telling() -> bool:
            if self._state(run_id) in (*TERMINAL, "gone"):
                return True
            return after is not None and len(self._runs[run_id].log) > _number(after)

        with self._changed:
            self._changed.wait_for(is_worth_telling, timeout_seconds)
            return self._state(run_id)

    def _state(self, run_id: str) -> str:
        return self._runs[run_id].state if run_id in self._runs else "gone"

    def runs(self, name: str, before: float, limit: int) -> Sequence[Listed]:
        with self._changed:
            found = [Listed(run.id, run.created, run.record()) for run in self._runs.values() if name in ("", run.name)]
        newest = sorted(found, key=lambda run: run.created, reverse=True)
        return [run for run in newest if run.created <= before][:limit]

    def outstanding(self, run_id: str) -> Outstanding:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None:
                return Outstanding()
            claimed = [Spot(*place, claim.hi) for place, claim in ledger.claims.items()]
            waiting = {
                kind: [Spot(due.scope, due.step, due.lo, due.hi, due.at) for due in ledger.due if due.kind == kind]
                for kind in ("retry", "parked")
            }
            return Outstanding(
                claimed, [_spot(piece) for piece in ledger.standing], waiting["retry"], waiting["parked"]
            )

    def within(self, run_id: str, scopes: Mapping[str, Sequence[int]]) -> Mapping[str, Mapping[int, Counts]]:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None:
                return {}
            times = {event.piece: event for event in ledger.log if event.kind == "done"}
            return {
                scope: {step: _counts(ledger, scope, step, times.get(f"{scope}/{step}")) for step in steps}
                for scope, steps in scopes.items()
                if scope in ledger.left
            }


def _counts(ledger: Ledger, scope: str, step: int, done: Event | None) -> Counts:
    state = ledger.steps[scope, step]
    if state.items >= 0:
        skipped = min(state.skipped, state.done)
        return Counts(total=state.items, done=state.done - skipped, skipped=skipped)
    if state.complete and done:
        return Counts(total=1, done=1, started=done.started, ended=done.started + done.seconds)
    return Counts(total=-1)


def _number(event_id: str) -> int:
    return int(event_id.split("-")[0]) if event_id else 0


def _spot(piece: str) -> Spot:
    scope, step, *lo = piece.split("/")
    return Spot(scope, int(step), int(lo[0]), int(lo[0]) + 1) if lo else Spot(scope, int(step))
