"""What reads a run, over any server: its record and plan, its values, what happened, and how far it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import replace
from typing import Any

from dagcelery.store import wire
from dagcelery.store.keys import key
from dagcelery.store.protocol import AsyncListen, Listen, StoreServer
from dagcelery.store.records import (
    CLOSE,
    ROOT,
    Block,
    Counts,
    Event,
    Outstanding,
    Progress,
    RunRecord,
    Scope,
)
from dagcelery.store.wire import STAGED

_MOST_OUTSTANDING = 1_000
_PORTION = 100


class ReaderAdapter:
    """The verbs of `protocol.RunReader`."""

    def __init__(self, server: StoreServer) -> None:
        self._server = server

    def record(self, run_id: str) -> RunRecord | None:
        return wire.record(run_id, self._server.client.hgetall(key(run_id)))

    def plan(self, run_id: str) -> bytes | None:
        return self._chunks(run_id, "plan") or None

    def child_plans(self, run_id: str, bodies: Sequence[int]) -> Sequence[tuple[str, bytes] | None]:
        return wire.child_plans(self._server.client, [key(run_id, "g", body) for body in bodies])

    def scope(self, run_id: str, scope: str) -> Scope | None:
        if scope == ROOT:
            return Scope(ROOT)
        text = self._server.client.hget(key(run_id, "sc"), scope)
        return wire.scope(scope, text) if text is not None else None

    def values(self, run_id: str, scope: str, tokens: Sequence[str]) -> Sequence[bytes | None]:
        values: list[bytes | None] = []
        while len(values) < len(tokens):
            request = {"scope": scope, "tokens": tokens[len(values) : len(values) + 500]}
            values += self._run("values", run_id, request)
        return [self._unstaged(run_id, data) if data else None for data in values]

    def blocks(self, run_id: str, scope: str, token: str, lo: int, hi: int) -> Iterator[Block]:
        while lo < hi:
            request = {"scope": scope, "token": token, "lo": lo, "hi": hi}
            lo, pairs = self._run("blocks", run_id, request)
            for block in wire.blocks(token, pairs):
                yield replace(block, data=self._unstaged(run_id, block.data)) if block.data[:1] == STAGED else block

    def failures(self, run_id: str) -> Mapping[str, bytes]:
        return {piece.decode(): data for piece, data in self._server.client.hgetall(key(run_id, "f")).items()}

    def progress(self, run_id: str) -> Progress | None:
        reads = self._server.client.pipeline(transaction=False).hgetall(key(run_id)).hgetall(key(run_id, "n"))
        fields, numbers, claims = reads.hgetall(key(run_id, "c")).execute()
        record = wire.record(run_id, fields)
        if record is None:
            return None
        queues = json.loads(fields[b"queues"])
        reads = self._server.client.pipeline(transaction=False)
        for queue in queues:
            reads.zcard(key(run_id, "r", queue))
        ready = {queue: max(0, size - 1) for queue, size in zip(queues, reads.execute(), strict=True)}
        counts, scopes = wire.counters(numbers, claims)
        return Progress(record, counts, scopes, ready)

    def claimed(self, run_id: str, piece: str) -> str:
        record = self._server.client.hget(key(run_id, "c"), piece)
        return wire.claim_record(record).owner if record else ""

    def messages(self, run_id: str) -> Sequence[str]:
        records = self._server.client.hvals(key(run_id, "c"))
        return sorted({wire.claim_record(record).message for record in records if record} - {""})

    # -- what happens ------------------------------------------------------------------------------
    def events(self, run_id: str, after: str, limit: int) -> Sequence[Event]:
        """The entry that `after` names is read along: if it is not there any more, others may have gone with it."""
        stored = self._server.client.xrange(key(run_id, "e"), min=after or "-", count=limit + 1)
        events = [wire.event(entry_id, fields) for entry_id, fields in stored]
        if after and events and events[0].id == after:
            return events[1:]
        is_whole = not events or (events[0].kind == "created" and not after)
        gap = [] if is_whole else [Event(after or "0-0", "missed", "", 0, -1, 0, 0.0, 0.0)]
        return [*gap, *events][:limit]

    def listening(self, run_id: str) -> AbstractContextManager[Listen]:
        return self._server.listening(run_id)

    def alistening(self, run_id: str) -> AbstractAsyncContextManager[AsyncListen]:
        return self._server.alistening(run_id)

    def outstanding(self, run_id: str) -> Outstanding:
        asked = self._server.client.pipeline(transaction=False).hgetall(key(run_id, "c"))
        asked.zrange(key(run_id, "u"), 0, _MOST_OUTSTANDING - 1).zrange(
            key(run_id, "d"), 0, _MOST_OUTSTANDING - 1, withscores=True
        ).hgetall(key(run_id, "no"))
        claims, failed, due, refused = asked.execute()
        return wire.outstanding(claims, failed, due, refused)

    def within(self, run_id: str, scopes: Mapping[str, Sequence[int]]) -> Mapping[str, Mapping[int, Counts]]:
        counts: dict[str, dict[int, Counts]] = {}
        asking = [(scope, part) for scope, steps in scopes.items() for part in wire.portions(steps, _PORTION)]
        for portion in wire.portions(asking, 10):
            asked = self._server.client.pipeline(transaction=False)
            for scope, steps in portion:
                asked.hmget(key(run_id, "s", scope), "left", "closed", *wire.step_fields(steps))
            for (scope, steps), (left, closed, *state) in zip(portion, asked.execute(), strict=True):
                if left is not None:
                    closing = {CLOSE: Counts(total=1, done=int(closed or 0))}
                    counts.setdefault(scope, closing).update(wire.step_counts(steps, state))
        return counts

    def _unstaged(self, run_id: str, data: bytes) -> bytes:
        return self._chunks(run_id, data[1:].decode()) if data[:1] == STAGED else data

    def _chunks(self, run_id: str, name: str) -> bytes:
        at = key(run_id, name)
        count = self._server.client.hlen(at)
        return b"".join(self._server.client.hget(at, str(number)) or b"" for number in range(count))

    def _run(self, verb: str, run_id: str, request: Mapping[str, Any]) -> Any:
        return self._server.run(verb, key(run_id), request)
