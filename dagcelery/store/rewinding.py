"""How steps of a run on Redis are made to be executed again: many small scripts, each of which may be the last one.

While a run is being rewound nothing of it commits, so what is read here between two scripts stays true. The order
matters: claims go first, so that nobody touches what goes next, and the names of scopes last, because what belongs to
them is found by those.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from dagcelery.store import wire
from dagcelery.store.base import CLOSE, ROOT, START
from dagcelery.store.undoing import ARRIVALS, dependents

_PORTION = 100
_STEPS_A_SCRIPT = 20
"""Each costs up to fifty fields."""
_LONGEST_PAUSE_SECONDS = 2.0

Run = Callable[[str, str, dict[str, Any]], Any]
"""Runs a verb on a run with a request."""


class _Overtaken(Exception):
    """Somebody else has begun to rewind the run."""


def rewind(client: Any, run: Run, run_id: str, key: Callable[..., str], steps: Sequence[int]) -> bool:
    """Do what `Store.rewind` promises. Of two who rewind a run at once one goes first, and the other does it again."""
    for turn in count():
        try:
            return _Rewinding(client, run, run_id, key).rewind(steps)
        except _Overtaken:
            time.sleep(random.random() * min(_LONGEST_PAUSE_SECONDS, 0.05 * 2**turn))
    raise AssertionError("it is counted for ever")


class _Rewinding:
    """One pass over one run, from the beginning to the end."""

    def __init__(self, client: Any, run: Run, run_id: str, key: Callable[..., str]) -> None:
        self._client = client
        self._run = run
        self._run_id = run_id
        self._key = key
        self._token = uuid.uuid4().hex
        self._number = 0
        self._bodies: dict[int, dict[int, dict[str, Any]]] = {}

    def rewind(self, steps: Sequence[int]) -> bool:
        epoch = self._client.hget(self._key(), "epoch")
        wanted = self._act("begin", steps=list(steps), epoch=int(epoch or 0)).get("steps")
        if wanted is None:
            return False
        complete = self._complete()
        found = dependents(wanted, self._body(0), complete.__contains__)
        bodies = self._bodies_below(found)
        scopes = {name: body for name, body in self._scopes() if body in bodies}
        self._remove(found, bodies, scopes)
        for step in sorted(complete.keys() - found):
            self._tell(step, found, complete[step])
        self._act("finish")
        return True

    def _act(self, act: str, **about: Any) -> dict[str, Any]:
        self._number += 1
        request = {"token": self._token, "number": self._number, "act": act} | about
        answer: dict[str, Any] = json.loads(self._run("rewind", self._run_id, request)[0])
        if answer.get("overtaken"):
            raise _Overtaken
        return answer

    def _portions(self, act: str, name: str, items: Iterable[Any], size: int = _PORTION) -> None:
        for portion in wire.portions(items, size):
            self._act(act, **{name: portion})

    # -- what is there ----------------------------------------------------------------------------
    def _body(self, body: int) -> dict[int, dict[str, Any]]:
        """The topology of a body by step, START and CLOSE among them."""
        if body not in self._bodies:
            texts = dict(self._fields("g", body))
            entries = {int(name): json.loads(text) for name, text in texts.items() if name.lstrip("-").isdigit()}
            for step, entry in entries.items():
                portions = range(entry.get("more", 0) + 1) if "s" not in entry else ()
                entry.setdefault("s", [s for number in portions for s in json.loads(texts[f"{step}:{number}"])])
                entry.setdefault("se", [])
            self._bodies[body] = entries
        return self._bodies[body]

    def _fields(self, *parts: object) -> Iterator[tuple[str, bytes]]:
        for name, data in self._client.hscan_iter(self._key(*parts), count=500):
            yield name.decode(), data

    def _complete(self) -> dict[int, int]:
        """The steps of the root scope that are complete, and how many items they have."""
        state, entries = dict(self._fields("s", ROOT)), self._body(0)
        found = {step: 0 for step in entries if state.get(str(step), b"").startswith(b"d|")}
        for step, entry in entries.items():
            if entry["x"]:
                items, done = state.get(f"{step}:n"), state.get(f"{step}:d")
                if items is not None and done is not None and int(done) >= int(items):
                    found[step] = int(items)
        return found if "more" in entries[START] else found | {START: 0}

    def _bodies_below(self, steps: Iterable[int]) -> set[int]:
        found, waiting = set[int](), [(0, step) for step in steps]
        while waiting:
            body, step = waiting.pop()
            inner = self._body(body)[step].get("b", -1)
            if inner > 0 and inner not in found:
                found.add(inner)
                waiting += [(inner, other) for other in self._body(inner)]
        return found

    def _scopes(self) -> Iterator[tuple[str, int]]:
        for name, record in self._fields("sc"):
            yield name, int(record.split(b"/")[3])

    # -- removing ---------------------------------------------------------------------------------
    def _remove(self, steps: set[int], bodies: set[int], scopes: Mapping[str, int]) -> None:
        def covers(piece: str) -> bool:
            scope, step = piece.split("/")[:2]
            return scope in scopes or (scope == ROOT and int(step) in steps)

        self._remove_claims(covers)
        due = (member.decode() for member, _ in self._client.zscan_iter(self._key("d"), count=500))
        self._portions("due", "members", [m for m in due if m.startswith("r/") and covers(m[2:])])
        failed = {piece for piece, _ in self._fields("f") if "@" not in piece and covers(piece)}
        self._portions("failures", "pieces", sorted(failed))
        places = [(ROOT, 0, step) for step in sorted(steps)]
        places += [(scope, body, step) for scope, body in scopes.items() for step in self._body(body)]
        self._portions("steps", "places", places, _STEPS_A_SCRIPT)
        self._portions("keys", "names", self._keys(steps, scopes))
        self._portions("counters", "fields", self._counters(steps, bodies))
        self._portions("scopes", "ids", scopes)

    def _remove_claims(self, covers: Callable[[str], bool]) -> None:
        claims = {piece: text.decode().split("|") for piece, text in self._fields("c") if piece}
        lost = [piece for piece in claims if covers(piece) or piece.split("/")[1] == "-3"]
        self._portions("claims", "pieces", [(piece, claims[piece][6]) for piece in lost])
        for piece, (*_, cursor, _) in claims.items():
            while cursor and piece not in lost and self._act("tell_on", piece=piece).get("more"):
                pass

    def _keys(self, steps: set[int], scopes: Mapping[str, int]) -> Iterator[str]:
        """Keys below the run's that hold what the steps, and the scopes below them, made."""
        for name in self._client.sscan_iter(self._key("k"), count=500):
            kind, _, rest = name.decode().partition(":")
            scope, _, token = rest.partition(":")
            made_by = token.partition(".")[0]
            in_root = scope == ROOT and kind in "bx" and made_by.isdigit() and int(made_by) in steps
            if in_root or (scope in scopes and kind in "obxqa"):
                yield name.decode()

    def _counters(self, steps: set[int], bodies: set[int]) -> Iterator[str]:
        for name, _ in self._fields("n"):
            body, _, step = name.partition(":")[0].partition(".")
            if body and (int(body) in bodies or (body == "0" and step and int(step) in steps)):
                yield name

    # -- telling ----------------------------------------------------------------------------------
    def _tell(self, step: int, among: set[int], items: int) -> None:
        """Tell some of a complete step's successors again that it is complete."""
        entry = self._body(0)[step]
        for successor in entry["se"] if step not in (START, CLOSE) else ():
            if successor in among:
                for lo in range(0, max(1, items), ARRIVALS):
                    self._act("items", step=successor, lo=lo, hi=min(items, lo + ARRIVALS))
        self._portions("arrive", "steps", [s for s in entry["s"] if s in among])
