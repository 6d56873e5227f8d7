"""How runs on Redis are looked at from outside: what happened, what has just happened, which runs there are."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import redis
import redis.asyncio

from dagcelery.store import wire
from dagcelery.store.base import TERMINAL, AsyncListen, Counts, Event, Listed, Listen, Outstanding, Spot
from dagcelery.store.connection import Connection, key, runs_key

_BLOCK_SECONDS = 5.0
_LISTED_RUNS = 100_000
_LISTED_SECONDS = 30 * 86400
_YOUNG_SECONDS = 3600.0
_SEEN = 1_000
_PORTION = 100

Asked = Generator[Callable[[Any], Any], Any, str]
"""What to ask of a client, one thing after the other; answered by whoever drives it, blocking or not."""


class Watching(Connection):
    """Those verbs of `store.base.Store` that watch."""

    def events(self, run_id: str, after: str, limit: int) -> Sequence[Event]:
        """The entry that `after` names is read along: if it is not there any more, others may have gone with it."""
        with self._reachable():
            stored = self._client.xrange(key(run_id, "e"), min=after or "-", count=limit + 1)
        found = [wire.event(entry_id, fields) for entry_id, fields in stored]
        if after and found and found[0].id == after:
            return found[1:]
        is_whole = not found or (found[0].kind == "created" and not after)
        gap = [] if is_whole else [Event(after or "0-0", "missed", "", 0, -1, 0, 0.0, 0.0)]
        return [*gap, *found][:limit]

    def wait(self, run_id: str, timeout_seconds: float) -> str:
        with self.listening(run_id) as listen:
            return listen(timeout_seconds)

    @contextmanager
    def listening(self, run_id: str) -> Iterator[Listen]:
        # A client of its own: a blocking read lasts longer than the socket timeout that suits all other calls.
        with redis.Redis.from_url(self.url, **self._patient()) as client:

            def listen(timeout_seconds: float, after: str | None = None) -> str:
                asking, answer = _asked(run_id, timeout_seconds, after), None
                with self._reachable():
                    try:
                        while True:
                            answer = asking.send(answer)(client)
                    except StopIteration as over:
                        return str(over.value)

            yield listen

    @asynccontextmanager
    async def alistening(self, run_id: str) -> AsyncIterator[AsyncListen]:
        options = self._patient() | {"retry": redis.asyncio.retry.Retry(redis.backoff.ExponentialBackoff(0.5, 0.02), 3)}
        async with redis.asyncio.Redis.from_url(self.url, **options) as client:

            async def listen(timeout_seconds: float, after: str | None = None) -> str:
                asking, answer = _asked(run_id, timeout_seconds, after), None
                with self._reachable():
                    try:
                        while True:
                            answer = await asking.send(answer)(client)
                    except StopIteration as over:
                        return str(over.value)

            yield listen

    def _patient(self) -> dict[str, Any]:
        return self._options | {"socket_timeout": 2 * _BLOCK_SECONDS}

    # -- which runs there are ---------------------------------------------------------------------
    def enroll(self, run_id: str, name: str) -> None:
        """List a run, among all and among those of its DAG; of very many the oldest are listed no longer."""
        with self._reachable():
            moment = self._moment()
            pipeline = self._client.pipeline(transaction=False)
            for names in (runs_key(), runs_key(name)):
                pipeline.zadd(names, {run_id: moment}, nx=True).expire(names, _LISTED_SECONDS)
                pipeline.zremrangebyrank(names, 0, -_LISTED_RUNS - 1)
            pipeline.execute()

    def runs(self, name: str, before: float, limit: int) -> Sequence[Listed]:
        names = runs_key(name)
        with self._reachable():
            found = self._client.zrange(
                names, before, "-inf", desc=True, byscore=True, offset=0, num=limit, withscores=True
            )
            asked = self._client.pipeline(transaction=False)
            for run_id, _ in found:
                asked.hgetall(key(run_id.decode()))
            listed = [_listed(run_id, at, record) for (run_id, at), record in zip(found, asked.execute(), strict=True)]
            # What has expired is listed no longer; a run that is just being written is not there yet.
            missing = [run for run in listed if run.record is None]
            gone = [run.id for run in missing if run.created < self._moment() - _YOUNG_SECONDS]
            if gone:
                self._client.zrem(names, *gone)
        return listed

    def _moment(self) -> float:
        seconds, micros = self._client.time()
        return float(seconds + micros / 1e6)

    # -- what is being done, and in which scope ---------------------------------------------------
    def outstanding(self, run_id: str) -> Outstanding:
        with self._reachable():
            asked = self._client.pipeline(transaction=False).hgetall(key(run_id, "c"))
            asked.zrange(key(run_id, "u"), 0, _SEEN - 1).zrange(key(run_id, "d"), 0, _SEEN - 1, withscores=True)
            claims, failed, due = asked.execute()
        return _outstanding(claims, failed, due)

    def within(self, run_id: str, scopes: Mapping[str, Sequence[int]]) -> Mapping[str, Mapping[int, Counts]]:
        found: dict[str, dict[int, Counts]] = {}
        asking = [(scope, part) for scope, steps in scopes.items() for part in wire.portions(steps, _PORTION)]
        with self._reachable():
            for portion in wire.portions(asking, 10):
                asked = self._client.pipeline(transaction=False)
                for scope, steps in portion:
                    asked.hmget(key(run_id, "s", scope), "left", *_step_fields(steps))
                for (scope, steps), (left, *state) in zip(portion, asked.execute(), strict=True):
                    if left is not None:
                        found.setdefault(scope, {}).update(_step_counts(steps, state))
        return found


def _listed(run_id: bytes, at: float, found: Mapping[bytes, bytes]) -> Listed:
    record = {name.decode(): value.decode() for name, value in found.items()}
    name = run_id.decode()
    return Listed(name, at, wire.record(name, record) if "state" in record else None)


def _asked(run_id: str, timeout_seconds: float, after: str | None) -> Asked:
    """Wait for the end of a run, or, where `after` names an event, for the next one; answers the run's state."""
    until, streams = time.monotonic() + timeout_seconds, {key(run_id, "w"): "0"}
    if after is not None:
        streams[key(run_id, "e")] = after or "0"
    events = key(run_id, "e").encode()
    while True:
        state = yield lambda client: client.hget(key(run_id), "state")
        left = until - time.monotonic()
        if state is None or state.decode() in TERMINAL or left <= 0:
            return state.decode() if state else "gone"
        milliseconds = max(1, int(min(left, _BLOCK_SECONDS) * 1000))
        found = yield partial(_read, streams, milliseconds)
        if events in dict(found):
            return str(state.decode())


def _read(streams: Mapping[str, str], milliseconds: int, client: Any) -> Any:
    return client.xread(streams, count=1, block=milliseconds)


def _outstanding(
    claims: Mapping[bytes, bytes], failed: Iterable[bytes], due: Iterable[tuple[bytes, float]]
) -> Outstanding:
    """Read what is claimed, has failed or is due."""
    claimed = [_spot(piece, int(claim.split(b"|")[0])) for piece, claim in claims.items() if piece]
    waiting: dict[str, list[Spot]] = {"r": [], "p": [], "w": []}
    for member, at in due:
        kind, _, rest = member.decode().partition("/")
        scope, step, *limits = rest.split("/")
        lo, hi = map(int, limits[:2]) if limits else (-1, -1)
        waiting[kind].append(Spot(scope, int(step), lo, hi, at))
    return Outstanding(claimed, [_spot(piece, -1) for piece in failed], waiting["r"], waiting["p"])


def _spot(piece: bytes, hi: int) -> Spot:
    scope, step, *lo = piece.decode().split("/")
    first = int(lo[0]) if lo else -1
    return Spot(scope, int(step), first, hi if hi >= 0 or first < 0 else first + 1)


def _step_fields(steps: Iterable[int]) -> Iterator[str]:
    """Name what the state of a scope says of steps."""
    for step in steps:
        yield from (str(step), f"{step}:n", f"{step}:d", f"{step}:k")


def _step_counts(steps: Iterable[int], state: Sequence[bytes | None]) -> Iterator[tuple[int, Counts]]:
    """Read what `_step_fields` named."""
    for at, step in enumerate(steps):
        once, items, done, skipped = state[4 * at : 4 * at + 4]
        if items is not None:
            left_out = min(int(skipped or 0), int(done or 0))
            yield step, Counts(total=int(items), done=int(done or 0) - left_out, skipped=left_out)
        elif once is not None:
            _, _, started, seconds, _ = once.decode().split("|", 4)
            yield step, Counts(total=1, done=1, started=float(started), ended=float(started) + float(seconds))
        else:
            yield step, Counts(total=-1)
