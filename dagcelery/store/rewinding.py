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
from dagcelery.store.surveys import Survey
from dagcelery.store.undoing import ARRIVALS, dependents, scopes_below

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
        self._survey = Survey(client, key)

    def rewind(self, steps: Sequence[int]) -> bool:
        epoch = self._client.hget(self._key(), "epoch")
        wanted = self._act("begin", steps=list(steps), epoch=int(epoch or 0)).get("steps")
        if wanted is None:
            return False
        survey = self._survey
        complete, freed = survey.complete()
        found = dependents(wanted, survey.body(0), complete.__contains__, freed.__contains__)
        opened = {name: (parent, step, body) for name, parent, step, body in survey.scopes()}
        below = scopes_below({name: place[:2] for name, place in opened.items()}, found)
        scopes = {name: opened[name][2] for name in below}
        self._remove(found, set(scopes.values()), scopes)
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

    # -- removing ---------------------------------------------------------------------------------
    def _remove(self, steps: set[int], bodies: set[int], scopes: Mapping[str, int]) -> None:
        def covers(piece: str) -> bool:
            scope, step = piece.split("/")[:2]
            return scope in scopes or (scope == ROOT and int(step) in steps)

        self._remove_claims(covers)
        due = [member for member in self._survey.members("d") if member.startswith("r/") and covers(member[2:])]
        self._portions("due", "members", due)
        failed = {piece for piece, _ in self._survey.fields("f") if "@" not in piece and covers(piece)}
        self._portions("failures", "pieces", sorted(failed))
        places = [(ROOT, 0, step) for step in sorted(steps)]
        places += [(scope, body, step) for scope, body in scopes.items() for step in self._survey.body(body)]
        self._portions("steps", "places", places, _STEPS_A_SCRIPT)
        self._portions("keys", "names", self._keys(steps, scopes))
        self._portions("counters", "fields", self._counters(steps, bodies))
        self._portions("scopes", "ids", scopes)

    def _remove_claims(self, covers: Callable[[str], bool]) -> None:
        claims = {piece: text.decode().split("|") for piece, text in self._survey.fields("c") if piece}
        lost = [piece for piece in claims if covers(piece) or piece.split("/")[1] == "-3"]
        self._portions("claims", "pieces", [(piece, claims[piece][6]) for piece in lost])
        for piece, (*_, cursor, _) in claims.items():
            while cursor and piece not in lost and self._act("tell_on", piece=piece).get("more"):
                pass

    def _keys(self, steps: set[int], scopes: Mapping[str, int]) -> Iterator[str]:
        """Keys below the run's that hold what the steps, and the scopes below them, made."""
        for name, kind, scope, step in self._survey.names():
            if (scope == ROOT and step in steps) or (scope in scopes and kind in "obxqa"):
                yield name

    def _counters(self, steps: set[int], bodies: set[int]) -> Iterator[str]:
        for name, _ in self._survey.fields("n"):
            body, _, step = name.partition(":")[0].partition(".")
            if body and (int(body) in bodies or (body == "0" and step and int(step) in steps)):
                yield name

    # -- telling ----------------------------------------------------------------------------------
    def _tell(self, step: int, among: set[int], items: int) -> None:
        """Tell some of a complete step's successors again that it is complete."""
        entry = self._survey.body(0)[step]
        for successor in entry["se"] if step not in (START, CLOSE) else ():
            if successor in among:
                for lo in range(0, max(1, items), ARRIVALS):
                    self._act("items", step=successor, lo=lo, hi=min(items, lo + ARRIVALS))
        self._portions("arrive", "steps", [s for s in entry["s"] if s in among])
