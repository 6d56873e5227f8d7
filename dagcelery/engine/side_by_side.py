"""A worker's loop that also awaits pieces side by side, where DAGCELERY_ASYNC_CONCURRENCY allows more than one.

What the store grants to be awaited (`lua/beside.lua`) is begun at once. Whenever some of it has ended that is
committed, each piece by itself, and the call that does so claims others in its place. What is no coroutine is executed
as ever, while nothing is awaited.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from dagcelery.engine.batches import Batch, Executed
from dagcelery.engine.beside import Lanes, awaited, can_await
from dagcelery.engine.worker_loop import WorkerLoop, nothing
from dagcelery.errors import StoreUnavailable
from dagcelery.store.records import Claim, ClaimRequest, Response

_SLICE_OF_PIECES, _SLICE_SECONDS = 10, 5.0
"""It goes on for longer than a message's slice, as long as so many pieces take, or so long: while the last ones end,
the process waits for them alone."""

_FIRST_PAUSE_SECONDS, _PAUSE_SECONDS = 0.1, 2.0
"""How long a process that could await more waits before it asks for some: what became ready meanwhile sends messages to
others only, and none if this is the only process."""

_NONE = Response(("none",), "running")


class SideBySide(WorkerLoop):
    """The work that one message causes in a run, where what awaits need not wait for each other."""

    _can_await = False

    def work(self, focus: str) -> None:
        """Claim, await, finish, as `WorkerLoop.work` does."""
        self._can_await = can_await()
        super().work(focus)

    def _request(self, focus: str, *, only: bool = False, arrived: bool = False, held: int = 0) -> ClaimRequest:
        request, most = super()._request(focus, only=only, arrived=arrived), self._engine.settings.async_concurrency
        if only or not self._can_await:
            return request
        return replace(request, beside=most - held, has_others=held > 0)

    def _turn(self, claims: Sequence[Claim], focus: str) -> tuple[Response, bool]:
        if not claims[0].is_beside:
            return super()._turn(claims, focus)
        usual = max((self._engine.durations.usual(self._clock_key(claim)) or 0.0) for claim in claims)
        until = max(self._until, time.perf_counter() + min(_SLICE_OF_PIECES * usual, _SLICE_SECONDS))
        pauses = _pauses()
        with Lanes(self._engine.settings.async_concurrency) as lanes:
            while True:
                if claims:
                    pauses = _pauses()
                while claims:
                    self._begin(lanes, claims)
                    is_wanting = self._ready and lanes.free and time.perf_counter() < until
                    claims = self._claimed(self._more(lanes, focus)) if is_wanting else ()
                is_wanting = lanes.free and time.perf_counter() < until
                ended = lanes.wait(next(pauses) if is_wanting else None)
                more = time.perf_counter() < until
                response = self._commit_ended(lanes, ended, focus if more else None)
                if not len(lanes) and not (response.claims and response.claims[0].is_beside):
                    return response, more
                claims = self._claimed(response)

    def _begin(self, lanes: Lanes, claims: Sequence[Claim]) -> None:
        engine, view = self._engine, self._view
        for granted in claims:
            for piece in awaited(view, granted, engine.settings, self._listener(granted)):
                lanes.start(piece)

    def _more(self, lanes: Lanes, focus: str) -> Response:
        """Claim what may be awaited beside the others; if the store is away, they go on."""
        try:
            return self._store.machine.claim(self._run, self._request(focus, held=len(lanes)))
        except StoreUnavailable:
            return _NONE

    def _commit_ended(self, lanes: Lanes, ended: Sequence[Executed], focus: str | None) -> Response:
        """Commit what has ended, and claim others in its place."""
        if not ended:
            return self._more(lanes, focus) if focus is not None else _NONE
        batch = Batch(())
        batch.executed = list(ended)
        for claim, result in ended:
            if not result.is_refused:
                self._engine.durations.add(self._clock_key(claim), result.seconds)
        request = nothing if focus is None else partial(self._request, focus, held=len(lanes))
        response = self._commit_all(batch, request)
        if self._view.program.frees:
            self._engine.free(self._view)
        return response


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, _PAUSE_SECONDS)
