"""A look at what a run consists of, in portions. Not a snapshot: its user sees to it that what it relies on stays.

Which items of an incomplete fan-out are done is not recorded: it would cost each commit a field. But an item that is
not done is in one of a few places, which are looked at instead: it waits for what it follows, may be claimed, is
claimed, is to be tried again, has failed for good, or has a scope that is open.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cached_property
from typing import Any

from dagcelery.store import wire
from dagcelery.store.protocol import StoreServer
from dagcelery.store.records import CLOSE, ROOT, START, SUCCESSORS, PieceId, Scope, Spot, StepEntry

_PORTION = 500

Place = tuple[str, int]
"""A step of a scope."""


class Survey:
    """A look at one run."""

    def __init__(self, server: StoreServer, run_id: str) -> None:
        self._client: Any = server.client
        self._keys = server.keys
        self._run_id = run_id
        self._bodies: dict[int, dict[int, StepEntry]] = {}

    # -- what is stored ---------------------------------------------------------------------------
    def body(self, body: int) -> dict[int, StepEntry]:
        """The topology of a body by step, START and CLOSE among them."""
        if body not in self._bodies:
            self._bodies[body] = wire.topology_of(self._topology(self._keys.topology(self._run_id, body)))
        return self._bodies[body]

    def _topology(self, name: str) -> dict[str, bytes]:
        """The fields of a body's topology that say what follows what: beside it there may be values, and a plan."""
        first = self._client.hmget(name, str(START), str(CLOSE))
        steps = range(json.loads(first[0])["c"] if first[0] else 0)
        found = self._read(name, map(str, steps)) | dict(zip(map(str, (START, CLOSE)), first, strict=True))
        found = {step: text for step, text in found.items() if text is not None}
        more = [f"{step}:{number}" for step, text in found.items() for number in wire.portions_apart(text)]
        return found | self._read(name, more)

    def _read(self, name: str, fields: Iterable[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for portion in wire.portions(fields, _PORTION):
            found |= zip(portion, self._client.hmget(name, *portion), strict=True)
        return found

    def fields(self, *parts: object) -> Iterator[tuple[str, bytes]]:
        """The fields of one of the run's hashes."""
        for name, data in self._client.hscan_iter(self._keys.run(self._run_id, *parts), count=_PORTION):
            yield name.decode(), data

    def members(self, *parts: object) -> Iterator[str]:
        """The members of one of the run's sorted sets."""
        for name, _ in self._client.zscan_iter(self._keys.run(self._run_id, *parts), count=_PORTION):
            yield name.decode()

    def scopes(self) -> Iterator[Scope]:
        """The scopes that were opened."""
        for name, record in self.fields("sc"):
            yield wire.scope(name, record)

    def scope(self, name: str) -> Scope | None:
        """Where a scope hangs, or None."""
        record = self._client.hget(self._keys.run(self._run_id, "sc"), name)
        return Scope(ROOT) if name == ROOT else None if record is None else wire.scope(name, record)

    def names(self) -> Iterator[tuple[str, str, str, int | None]]:
        """The run's keys below its own: name, kind, scope, and the step that made it, as far as they tell."""
        for found in self._client.sscan_iter(self._keys.run(self._run_id, "k"), count=_PORTION):
            name = found.decode()
            kind, _, rest = name.partition(":")
            scope, _, token = rest.partition(":")
            step = token.partition(".")[0]
            yield name, kind, scope, int(step) if kind in "bx" and step.isdigit() else None

    def ends(self, scope: str) -> tuple[bool, bool]:
        """Whether a scope has handed its outputs to its parent; whether it was skipped."""
        closed, skipped = self._client.hmget(self._keys.run(self._run_id, "s", scope), "closed", "skipped")
        return closed is not None, skipped is not None

    def over(self, scopes: Iterable[str]) -> set[str]:
        """Those of these scopes that have handed their outputs to their parents, or were skipped."""
        over = set[str]()
        for portion in wire.portions(scopes, _PORTION):
            asked = self._client.pipeline(transaction=False)
            for scope in portion:
                asked.hmget(self._keys.run(self._run_id, "s", scope), "closed", "skipped")
            over.update(scope for scope, ends in zip(portion, asked.execute(), strict=True) if any(ends))
        return over

    def block_fields(self, name: str) -> Iterator[tuple[str, int, int]]:
        """The fields of a list's cell, with the elements that each holds."""
        for field in self._client.hkeys(f"{self._keys.run(self._run_id)}:{name}"):
            lo, hi, _ = field.split(b":")
            yield field.decode(), int(lo), int(hi)

    # -- where items are ----------------------------------------------------------------------------
    def claims(self) -> Iterator[tuple[str, wire.ClaimRecord]]:
        """What is claimed, by piece."""
        for piece, text in self.fields("c"):
            if piece:
                yield piece, wire.claim_record(text)

    def retries(self) -> Iterator[tuple[str, Spot]]:
        """What waits for its next attempt, with the member that says when."""
        for member in self.members("d"):
            kind, scope, step, *limits = member.split("/")
            if kind == "r":
                lo, hi = map(int, limits[:2])
                yield member, Spot(scope, int(step), lo, hi)

    def ranges(self, scope: str, step: int) -> list[tuple[str, int, int]]:
        """The ranges of a fan-out's items that may be claimed, as they are written."""
        texts = [text.decode() for text in self._client.lrange(self._keys.run(self._run_id, "q", scope, step), 0, -1)]
        return [(text, *map(int, text.split(":")[:2])) for text in texts]

    @cached_property
    def _outstanding(self) -> Mapping[Place, set[int]]:
        """Items that are claimed and not committed, that wait for another attempt, or have failed for good.

        Claims come first: a sweep may give them back meanwhile.
        """
        found: dict[Place, set[int]] = defaultdict(set)
        for piece, claim in self.claims():
            scope, step, lo = PieceId.parse(piece)
            if lo >= 0 and not claim.cursor:
                found[scope, step].update(range(lo, claim.hi))
        for _, spot in self.retries():
            found[spot.scope, spot.step].update(range(spot.lo, spot.hi))
        for piece in self.members("u"):
            scope, step, lo = PieceId.parse(piece)
            found[scope, step].add(lo)
        return found

    @cached_property
    def _children(self) -> Mapping[Place, Mapping[int, str]]:
        children: dict[Place, dict[int, str]] = defaultdict(dict)
        for scope in self.scopes():
            children[scope.parent, scope.step][scope.index] = scope.id
        return children

    def undone(self, scope: str, step: int) -> set[int]:
        """The items of a fan-out that are not done, but for those that wait for what they follow."""
        elsewhere = set(self._outstanding.get((scope, step), ()))
        for _, lo, hi in self.ranges(scope, step):
            elsewhere.update(range(lo, hi))
        entered = self._children.get((scope, step), {})
        over = self.over(entered.values())
        for index, child in entered.items():  # a range that was given back may have items whose scopes are over
            (elsewhere.discard if child in over else elsewhere.add)(index)
        return elsewhere


class ScopeSurvey:
    """A look at the steps of one scope: which are `complete`, and how many items they have; which were `freed`."""

    def __init__(self, survey: Survey, scope: Scope) -> None:
        self._survey = survey
        self.scope = scope
        self.entries = survey.body(scope.body)
        self._state = state = dict(survey.fields("s", scope.id))
        self.complete = {step: 0 for step in self.entries if state.get(str(step), b"").startswith(b"d|")}
        for step, entry in self.entries.items():
            if entry.over and (items := self.items(step)) is not None and int(state.get(f"{step}:d", -1)) >= items:
                self.complete[step] = items
        if len(self.entries[START].successors) <= SUCCESSORS:
            self.complete[START] = 0
        self.freed = {step for step in self.entries if f"{step}:x" in state}
        self._done: dict[int, Set[int]] = {}

    def items(self, step: int) -> int | None:
        """How many items a fan-out has; None if that is not known yet."""
        items = self._state.get(f"{step}:n")
        return None if items is None else int(items)

    @cached_property
    def followed(self) -> Mapping[int, list[int]]:
        """The fan-outs that each step follows item by item."""
        followed = defaultdict(list)
        for step, entry in self.entries.items():
            for follower in entry.item_successors:
                followed[follower].append(step)
        return followed

    def done(self, step: int) -> Set[int]:
        """The items of a fan-out that are done. What must be sure of it asks when no claim is about to be committed."""
        wanted, waiting = set[int](), [step]
        while waiting:
            each = waiting.pop()
            if each not in wanted and each not in self._done:
                wanted.add(each)
                waiting += self.followed[each] if each not in self.complete else ()
        for each in sorted(wanted):  # what is followed comes before what follows
            self._done[each] = self._found_done(each)
        return self._done[step]

    def _found_done(self, step: int) -> Set[int]:
        items = self.items(step)
        done = set(range(items or 0))
        if step in self.complete or not done:
            return done
        for source in self.followed[step]:
            done &= self._done[source]
        return done - self._survey.undone(self.scope.id, step)
