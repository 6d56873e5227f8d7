"""The part of a worker's loop that awaits pieces side by side, if DAGCELERY_ASYNC_CONCURRENCY is more than one.

What the store grants to be awaited (`store/lua/beside.lua`) is begun at once. Whenever some of it has ended that is
committed, each piece by itself, and the call that does so claims others in its place. What is no coroutine is executed
as ever, while nothing is awaited.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from dagcelery.engine.batches import Batch, Executed
from dagcelery.engine.beside import Lanes, awaited
from dagcelery.engine.durations import Durations
from dagcelery.engine.hooks import Listener
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView
from dagcelery.errors import StoreUnavailable
from dagcelery.store.records import Claim, ClaimRequest, Response

_SLICE_OF_PIECES, _SLICE_SECONDS = 10, 5.0
"""It goes on for longer than a message's slice, as long as so many pieces take, or so long: while the last ones end,
the process waits for them alone."""

_FIRST_PAUSE_SECONDS, _PAUSE_SECONDS = 0.1, 2.0
"""How long a process that could await more waits before it asks for some: what became ready meanwhile sends messages to
others only, and none if this is the only process."""

_NONE = Response(("none",), "running")


class Claiming(Protocol):
    """What is needed of a worker's loop."""

    _run: str
    _view: RunView
    _until: float
    _ready: int

    def _request(self, focus: str, *, held: int) -> ClaimRequest: ...
    def _commit_all(self, batch: Batch, request: Callable[[], ClaimRequest | None]) -> Response: ...
    def _claimed(self, response: Response) -> Sequence[Claim]: ...
    def _listener(self, claim: Claim) -> Listener | None: ...
    def _clock_key(self, claim: Claim) -> str: ...


class SideBySide:
    """What a worker's loop does with claims that are awaited, until nothing is any more."""

    def __init__(self, loop: Claiming, engine: RunControl, durations: Durations) -> None:
        self._loop = loop
        self._engine = engine
        self._durations = durations

    def turn(self, claims: Sequence[Claim], focus: str) -> tuple[Response, bool]:
        """Await pieces, and claim more of them as they end. Return the last answer, and whether there was time for
        it.
        """
        usual = max((self._durations.usual(self._loop._clock_key(claim)) or 0.0) for claim in claims)
        until = max(self._loop._until, time.perf_counter() + min(_SLICE_OF_PIECES * usual, _SLICE_SECONDS))
        pauses = _pauses()
        with Lanes(self._engine.settings.async_concurrency) as lanes:
            while True:
                if claims:
                    pauses = _pauses()
                while claims:
                    self._begin(lanes, claims)
                    is_wanting = self._loop._ready and lanes.free and time.perf_counter() < until
                    claims = self._loop._claimed(self._more(lanes, focus)) if is_wanting else ()
                is_wanting = lanes.free and time.perf_counter() < until
                ended = lanes.wait(next(pauses) if is_wanting else None)
                more = time.perf_counter() < until
                response = self._commit_ended(lanes, ended, focus if more else None)
                if not len(lanes) and not (response.claims and response.claims[0].is_beside):
                    return response, more
                claims = self._loop._claimed(response)

    def _begin(self, lanes: Lanes, claims: Sequence[Claim]) -> None:
        engine, view = self._engine, self._loop._view
        for granted in claims:
            for piece in awaited(view, granted, engine.settings, engine.sender.check, self._loop._listener(granted)):
                lanes.start(piece)

    def _more(self, lanes: Lanes, focus: str) -> Response:
        """Claim what may be awaited beside the others; if the store is away, they go on."""
        try:
            return self._engine.store.machine.claim(self._loop._run, self._loop._request(focus, held=len(lanes)))
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
                self._durations.add(self._loop._clock_key(claim), result.seconds)
        request = _nothing if focus is None else partial(self._loop._request, focus, held=len(lanes))
        response = self._loop._commit_all(batch, request)
        if self._loop._view.program.frees:
            self._engine.free(self._loop._view)
        return response


def _nothing() -> None:
    """Request nothing."""


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, _PAUSE_SECONDS)
