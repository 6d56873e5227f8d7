"""How far a run is, counted when somebody asks for it: a commit pays for what it changes, and not for the status.

What steps of the root scope have done is in that scope's own state. The scopes within may be many, so commits there add
to counters. Both are read in portions, between which other calls are served, and yet the numbers are those of one
moment, at which the claims were read. For each portion says which event came last, and what is done has an event: so
what was done in between is taken off again, and a busy run can be read as well as a quiet one. The road not taken is
to read again until nothing moves, which may be never.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

from dagcelery.errors import StoreFull
from dagcelery.store import wire
from dagcelery.store.keys import Keys
from dagcelery.store.protocol import StoreServer
from dagcelery.store.records import START, Counts, Event, PieceId, Progress

_MOST_OUTSTANDING = 1_000
_STEPS = 400
"""Steps of the root scope that are read at once: two fields of each, three of a fan-out."""
_FIELDS = 500
_EVENTS = 500
_PAGES = 10
"""Portions of events: if there are more, the run is read anew."""
_TRIES = 3
"""Whatever moves meanwhile, the last one counts."""

Place = tuple[int, int]
"""A step of a body."""
Moment = tuple[int, int]
"""The id of an event."""


def together(client: Any, reads: Callable[[Any], Any]) -> list[Any]:
    """Read several things of one moment; of moments that follow each other, where a full Redis takes no MULTI."""
    try:
        answers = reads(client.pipeline(transaction=True)).execute()
    except StoreFull:
        answers = reads(client.pipeline(transaction=False)).execute()
    return list(answers)


def read_outstanding(pipeline: Any, keys: Keys, run_id: str) -> Any:
    """Ask for what `wire.outstanding` reads."""
    pipeline.hgetall(keys.run(run_id, "c")).zrange(keys.run(run_id, "u"), 0, _MOST_OUTSTANDING - 1)
    pipeline.zrange(keys.run(run_id, "d"), 0, _MOST_OUTSTANDING - 1, withscores=True)
    return pipeline.hgetall(keys.run(run_id, "no"))


def progress(server: StoreServer, run_id: str, *, counted: bool) -> Progress | None:
    """Do what `RunReader.progress` promises."""
    found = None
    for _ in range(_TRIES):
        look = _Look(server, run_id)
        found = look.progress(counted=counted)
        if look.is_of_one_moment:
            break
    return found


class _Look:
    """One look at a run."""

    def __init__(self, server: StoreServer, run_id: str) -> None:
        self._server = server
        self._client = server.client
        self._keys = server.keys
        self._run_id = run_id
        self._numbers: dict[str, dict[str, float]] = defaultdict(dict)
        """Counters by what they are about, a step "body.step" or a body, and by what they count."""
        self._once: dict[int, tuple[float, float]] = {}
        """When steps of the root scope that are done began and ended."""
        self._of_root: list[Moment] = []
        """Of which moment each portion of the root scope's steps is."""
        self._moments: dict[str, Moment] = {}
        """Of which moment the numbers of other steps are that were not read with the claims."""
        self.is_of_one_moment = True

    def progress(self, *, counted: bool) -> Progress | None:
        """How far the run is at the moment at which its claims are read."""
        is_large = counted and self._client.hlen(self._keys.run(self._run_id, "n")) > _FIELDS

        def reads(pipeline: Any) -> Any:
            pipeline.time().hgetall(self._keys.run(self._run_id)).xrevrange(self._keys.run(self._run_id, "e"), count=1)
            if counted:
                pipeline.hget(self._keys.topology(self._run_id, 0), START)
                pipeline.hmget(self._keys.run(self._run_id, "n"), "") if is_large else pipeline.hgetall(
                    self._keys.run(self._run_id, "n")
                )
            return read_outstanding(pipeline, self._keys, self._run_id)

        (seconds, micros), fields, events, *rest = together(self._client, reads)
        record = wire.record(self._run_id, fields)
        if record is None:
            return None
        if counted:
            start, numbers, *rest = rest
            self._take(() if is_large else numbers.items())
            self._read_portions(json.loads(start)["c"], is_large=is_large, cleared=fields.get(b"clear_at", b""))
            self._take_off(_moment(events[0][0]) if events else (0, 0))
        counts, scopes, skipped = self._counts(rest[0])
        queues = json.loads(fields[b"queues"])
        ready = self._ready(queues) if counted else {}
        now = seconds + micros / 1e6
        return Progress(record, counts, scopes, ready, wire.outstanding(*rest), skipped, now)

    def _ready(self, queues: Iterable[str]) -> dict[str, int]:
        sizes = self._client.pipeline(transaction=False)
        for queue in queues:
            sizes.zcard(self._keys.run(self._run_id, "r", queue))
        return {queue: max(0, size - 1) for queue, size in zip(queues, sizes.execute(), strict=True)}

    # -- in portions ------------------------------------------------------------------------------
    def _read_portions(self, steps: int, *, is_large: bool, cleared: bytes) -> None:
        if is_large:
            self._read_counters()
        for first in range(0, steps, _STEPS):
            about = {"from": first, "upto": min(steps, first + _STEPS)}
            rows, last, clear_at = self._server.run("counts", self._keys.run(self._run_id), about)
            self._of_root.append(_moment(last))
            for step, row in enumerate(rows.split(b"\n"), first):
                if row:  # as lua/counts.lua says it
                    began, is_once, ended = row.partition(b"|")
                    if is_once:
                        self._once[step] = float(began), float(ended)
                    else:
                        self._numbers[f"0.{step}"]["d"] = int(row)
            if clear_at != cleared:
                self.is_of_one_moment = False

    def _read_counters(self) -> None:
        """Read more counters than fit into one call; all of a step at once."""
        name = self._keys.run(self._run_id, "n")
        found = {field.decode() for field, _ in self._client.hscan_iter(name, count=_FIELDS) if field}
        by_step = [list(group) for _, group in groupby(sorted(found), lambda field: field.partition(":")[0])]
        for several in wire.portions(by_step, _FIELDS // 10):
            fields = [field for each in several for field in each]

            def reads(pipeline: Any, fields: list[str] = fields) -> Any:
                return pipeline.xrevrange(self._keys.run(self._run_id, "e"), count=1).hmget(name, *fields)

            (last, *_), values = together(self._client, reads)
            self._take((field.encode(), value) for field, value in zip(fields, values, strict=True) if value)
            moment = _moment(last[0])
            self._moments |= {field.partition(":")[0]: moment for field in fields}

    def _take(self, counters: Iterable[tuple[bytes, bytes]]) -> None:
        for field, value in counters:
            about, _, what = field.decode().partition(":")
            if what:
                self._numbers[about][what] = float(value)

    # -- of one moment ----------------------------------------------------------------------------
    def _take_off(self, first: Moment) -> None:
        """Take off what was done between the moment of the claims and those of the portions."""
        after, last = first, max([first, *self._of_root, *self._moments.values()])
        for _ in range(_PAGES):
            if after >= last:
                return
            found = self._client.xrange(self._keys.run(self._run_id, "e"), min=f"{after[0]}-{after[1]}", count=_EVENTS)
            for entry_id, fields in found:
                moment = _moment(entry_id)
                if after < moment:
                    self._undo(wire.event(entry_id, fields), moment)
            after = _moment(found[-1][0]) if len(found) == _EVENTS else last
        self.is_of_one_moment = False

    def _undo(self, event: Event, moment: Moment) -> None:
        if event.kind != "done" or not event.piece:
            return
        _, number, lo = PieceId.parse(event.piece)
        if event.body == 0:
            at = self._of_root[number // _STEPS] if number >= 0 else (0, 0)
        else:
            at = self._moments.get(f"{event.body}.{number}", (0, 0))
        if moment > at:
            return
        if event.body == 0 and lo < 0:
            self._once.pop(number, None)
        elif (numbers := self._numbers[f"{event.body}.{number}"]).get("d"):
            numbers["d"] -= 1 if lo < 0 else event.hi - lo

    def _counts(self, claims: Mapping[bytes, bytes]) -> tuple[dict[Place, Counts], dict[int, int], dict[int, int]]:
        """Counts by step; how many scopes each body has, and how many of them were skipped."""
        for name, text in claims.items():
            if name:
                claimed, (_, step, _) = wire.claim_record(text), PieceId.parse(name.decode())
                numbers = self._numbers[f"{claimed.body}.{step}"]
                numbers["b"] = min(numbers.get("b", claimed.started), claimed.started)
                numbers["r"] = numbers.get("r", 0) + (not claimed.cursor)
        counts: dict[Place, Counts] = {}
        once = self._once
        entered = {int(at): int(each["scopes"]) for at, each in self._numbers.items() if "scopes" in each}
        scopes = {0: 1} | entered
        skipped = {int(at): int(each["skipped"]) for at, each in self._numbers.items() if "skipped" in each}
        for about, numbers in self._numbers.items():
            body, _, number = about.partition(".")
            if number and int(number) >= 0:
                began, ended = once.pop(int(number), (0.0, 0.0)) if body == "0" else (0.0, 0.0)
                if ended:
                    numbers["d"], numbers["e"] = 1, max(ended, numbers.get("e", 0.0))
                    numbers["b"] = min(began, numbers.get("b", began))
                counts[int(body), int(number)] = _counts(numbers, int(body), scopes)
        for step, (began, ended) in once.items():
            counts[0, step] = Counts(1, 0, 1, 0, began, ended)
        return counts, scopes, skipped


def _moment(event: bytes) -> Moment:
    milliseconds, _, place = event.partition(b"-")
    return int(milliseconds or 0), int(place or 0)


def _counts(numbers: Mapping[str, float], body: int, scopes: Mapping[int, int]) -> Counts:
    return Counts(
        total=int(numbers.get("n", scopes.get(body, 1))),
        running=int(numbers.get("r", 0)),
        done=int(numbers.get("d", 0)),
        failed=int(numbers.get("f", 0)),
        started=numbers.get("b", 0.0),
        ended=numbers.get("e", 0.0),
        retrying=max(0, int(numbers.get("w", 0))),
        skipped=int(numbers.get("k", 0)) + int(numbers.get("l", 0)),
        cached=int(numbers.get("c", 0)),
        opened=int(numbers.get("o", body == 0 and "n" in numbers)),
    )
