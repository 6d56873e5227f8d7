"""How parts of a run are cleared, to be executed again: places, all that depends on them, and nothing else.

A place is a step of a scope, or some items of a fan-out. What depends on it in its scope is found first. Then the scope
itself is not done any more, nor is the item around it that the scope belongs to, so the search goes on from that item,
up to the root. What is to go is removed with many small scripts, each of which may be the last one; while a run is
being cleared nothing of it commits, so what is read between two scripts stays true.

One process clears a run at a time; who comes meanwhile adds its places to the mark, and waits until they are cleared. A
process that dies leaves the mark with the places, and after a while the next one begins anew: what it finds of places
that were cleared does not matter, and of all others it finds what the first one did. So each script writes what is to
be there in the end, or removes what says that it has not been removed; no number is lowered blindly. The order matters:
claims go first, so that nothing touches what goes next, and the names of scopes last and from within, because what
belongs to them is found by those.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dagcelery.store import wire
from dagcelery.store.protocol import StoreServer
from dagcelery.store.records import CELL, CLOSE, HOOK, ROOT, START, PieceId, Scope, Spot, StepEntry
from dagcelery.store.survey import ScopeSurvey, Survey

ARRIVALS = 250
"""Items of a fan-out that are told of at once."""
_PORTION = 100
_STEPS_A_SCRIPT = 20
"""Each costs up to fifty fields."""
_LONGEST_PAUSE_SECONDS = 2.0

Range = tuple[int, int]


def clear(server: StoreServer, run_id: str, places: Sequence[Spot]) -> bool:
    """Do what `RunMachine.clear` promises. Of two that clear a run at once, one does it for both."""
    pause, is_left_to_another = 0.05, False
    while True:
        try:
            # Once they are in the mark, places are not named again: the other may have widened them, and would see new
            # ones for ever. The mark goes when all that was in it is cleared.
            return _Clearing(server, run_id).clear(() if is_left_to_another else places) or is_left_to_another
        except _AnotherClears:
            is_left_to_another = True
            time.sleep(random.random() * pause)
            pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)


def foreseen(server: StoreServer, run_id: str, places: Sequence[Spot]) -> Mapping[tuple[int, int], int]:
    """Do what `RunReader.foreseen` promises; nothing is written. Of a scope that goes each step counts once."""
    return _Clearing(server, run_id).foreseen(places)


class _AnotherClears(Exception):
    """Another process clears the run, and our places with its own."""


@dataclass(slots=True)
class _Cut:
    """What goes of one scope: `whole` steps, and `items` of others. Items, or all (-1), of what is `reopened` are not
    done any more, and go on within.
    """

    survey: ScopeSurvey
    whole: set[int] = field(default_factory=set)
    items: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    reopened: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))

    def take(self, places: Iterable[Spot]) -> None:
        """Take places of this scope, and all that depends on them."""
        entries, freed = self.survey.entries, self.survey.freed
        waiting = [(at.step, self._items(at)) for at in places if at.step in entries]
        for step, reopened in self.reopened.items():
            waiting += _after(entries[step], None if -1 in reopened else reopened)
        while waiting:
            step, items = waiting.pop()
            entry = entries[step]
            if step in self.whole or (items is not None and items <= self.items[step]):
                continue
            if items is None or not entry.over:
                self.whole.add(step)
            else:
                self.items[step] |= items
            waiting += _after(entry, items)
            # What it reads has to be made again as well if it was freed: by item, the same items.
            waiting += [(at, items if _reads_items(entries[at], step) else None) for at in entry.reads if at in freed]
        self.items = {step: items for step, items in self.items.items() if items and step not in self.whole}

    def _items(self, at: Spot) -> set[int] | None:
        """Which items are meant; None for all, also where it is not known, or not any more, how many there are."""
        items = self.survey.items(at.step)
        return None if at.lo < 0 or items is None else set(range(at.lo, min(at.hi, items)))

    def undone(self, step: int) -> set[int]:
        """The items of a step that is not cleared as a whole that are not done when all is over; of others [-1]."""
        return self.items.get(step, set()) | self.reopened.get(step, set())

    def partial(self) -> set[int]:
        """The fan-outs of which some items are not done any more."""
        steps = {*self.items, *self.reopened} - self.whole
        return {step for step in steps if self.survey.entries[step].over and self.undone(step)}


def _after(entry: StepEntry, items: set[int] | None) -> list[tuple[int, set[int] | None]]:
    return [*((step, None) for step in entry.successors), *((step, items) for step in entry.item_successors)]


def _reads_items(entry: StepEntry, reader: int) -> bool:
    """Return whether a step reads from another one nothing but the same item."""
    return reader in entry.item_successors and reader not in entry.successors


class _Clearing:
    """What one process does to one run, from the beginning to the end."""

    def __init__(self, server: StoreServer, run_id: str) -> None:
        self._server = server
        self._run_id = run_id
        self._token = uuid.uuid4().hex
        self._number = 0
        self._survey = Survey(server, run_id)

    def clear(self, places: Sequence[Spot]) -> bool:
        while (marked := self._begin(places)) is not None:
            self._pass(marked)
            if not self._act("finish", known=len(marked)).get("again"):
                return True
            places = ()  # others have come while it was cleared; ours are in the mark
        return False

    def foreseen(self, places: Sequence[Spot]) -> Mapping[tuple[int, int], int]:
        """How many pieces of each step are to go."""
        cuts = self._cut(self._wide(places))
        gone = _within(self._survey.scopes(), cuts)
        pieces = Counter[tuple[int, int]]()
        for name, cut in cuts.items():
            body = cut.survey.scope.body
            for step in cut.whole if name not in gone else ():
                if step >= 0:
                    pieces[body, step] += (cut.survey.items(step) or 0) if cut.survey.entries[step].over else 1
            for step in cut.partial() if name not in gone else ():
                pieces[body, step] += len(cut.items.get(step, ()))
        for scope in gone.values():
            pieces.update((scope.body, step) for step in self._survey.body(scope.body) if step >= 0)
        return +pieces

    def _begin(self, places: Sequence[Spot]) -> list[list[Any]] | None:
        """Mark the run, and answer all places of the mark; None if nothing can be cleared."""
        self._survey = Survey(self._server, self._run_id)
        epoch = self._server.client.hget(self._server.keys.run(self._run_id), "epoch")
        answer = self._act("begin", places=[spot[:4] for spot in places], epoch=int(epoch or 0))
        marked: list[list[Any]] | None = answer.get("places")
        return marked

    def _pass(self, marked: Sequence[Sequence[Any]]) -> None:
        self._tell_on()
        self._cuts = self._cut(self._widened([Spot(*place) for place in marked]))
        self._gone = _within(self._survey.scopes(), self._cuts)
        for name in self._gone:
            self._cuts.pop(name, None)
        self._remove()
        for cut in self._cuts.values():
            for step in sorted(cut.partial()):
                self._return_items(cut, step)
            self._count_left(cut)
            self._tell(cut)
        self._portions("forget_freed", "steps", sorted(self._cuts[ROOT].whole))

    def _act(self, act: str, **about: Any) -> dict[str, Any]:
        self._number += 1
        request = {"token": self._token, "number": self._number, "act": act} | about
        answer: dict[str, Any] = json.loads(self._server.run("clear", self._server.keys.run(self._run_id), request)[0])
        if answer.get("overtaken") or answer.get("busy"):
            raise _AnotherClears
        return answer

    def _portions(self, act: str, name: str, items: Iterable[Any], size: int = _PORTION, **about: Any) -> None:
        for portion in wire.portions(items, size):
            self._act(act, **about, **{name: portion})

    # -- what goes --------------------------------------------------------------------------------
    def _tell_on(self) -> None:
        """Go on for workers that had committed, or begun to skip a scope, and died before all was told."""
        for piece, claim in list(self._survey.claims()):
            while claim.cursor and self._act("tell_on", piece=piece).get("more"):
                pass

    def _widened(self, places: Sequence[Spot]) -> Sequence[Spot]:
        """Widen the places as far as needed, and the mark."""
        wide = self._wide(places)
        if wide != list(places):
            self._act("widen", places=[spot[:4] for spot in wide])  # what is cleared does not say any more what it was
        return wide

    def _wide(self, places: Sequence[Spot]) -> list[Spot]:
        """In a scope that was skipped nothing goes on, and what a closed one read may be freed where a run keeps only
        its outputs: the item that the scope belongs to is entered anew.
        """
        is_freed = self._survey.body(0)[START].keeps_outputs_only
        wide = []
        for place in places:
            wider, name = place, place.scope
            while name != ROOT and (scope := self._survey.scope(name)) is not None:
                closed, skipped = self._survey.ends(name)
                if skipped or (closed and is_freed):
                    wider = Spot(scope.parent, scope.step, scope.index, scope.index + 1 if scope.index >= 0 else -1)
                name = scope.parent
            wide.append(wider)
        return wide

    def _cut(self, places: Sequence[Spot]) -> dict[str, _Cut]:
        """What goes of each scope from the root to those of the places; the deepest ones come first.

        A place in a scope that is gone goes with what is around it: another place has seen to that.
        """
        wanted: dict[str, list[Spot]] = defaultdict(list)
        cuts = {ROOT: _Cut(ScopeSurvey(self._survey, Scope(ROOT)))}
        for place in places:
            name = place.scope
            way = []
            while name not in cuts and (scope := self._survey.scope(name)) is not None:
                way.append(scope)
                name = scope.parent
            if name in cuts:
                wanted[place.scope].append(place)
                cuts |= {scope.id: _Cut(ScopeSurvey(self._survey, scope)) for scope in way}
        cuts = dict(sorted(cuts.items(), key=lambda pair: -pair[1].survey.scope.depth))
        for name, cut in cuts.items():
            cut.take(wanted[name])
            scope = cut.survey.scope
            if name != ROOT:
                cuts[scope.parent].reopened[scope.step].add(scope.index)
        return cuts

    def _rest(self, scope: str, step: int, lo: int, hi: int) -> list[Range] | None:
        """What stays of some items, or of a step; None if all does."""
        if scope in self._gone:
            return []
        cut = self._cuts.get(scope)
        if cut is None:
            return None
        if step in cut.whole or (step == CLOSE and scope != ROOT):
            return []
        items = cut.items.get(step)
        if not items or lo < 0 or items.isdisjoint(range(lo, hi)):
            return None
        return _ranges(set(range(lo, hi)) - items)

    # -- removing ---------------------------------------------------------------------------------
    def _remove(self) -> None:
        self._remove_claims()
        due = (member for member, at in self._survey.retries() if self._rest(*at[:4]) is not None)
        self._portions("due", "members", list(due))
        failed = (PieceId.parse(name) for name, _ in self._survey.fields("f") if "@" not in name)
        self._portions("failures", "pieces", [p.name for p in failed if self._rest(*p, p.lo + 1) is not None])
        self._portions("steps", "places", list(self._steps()), _STEPS_A_SCRIPT)
        self._portions("keys", "names", list(self._keys()))
        self._portions("blocks", "blocks", list(self._blocks()), _STEPS_A_SCRIPT)
        self._portions("scopes", "ids", sorted(self._gone, key=lambda name: -self._gone[name].depth))
        self._portions("reopen", "ids", [name for name in self._cuts if name != ROOT])
        self._portions("counters", "fields", list(self._counters()))

    def _remove_claims(self) -> None:
        lost = []
        for piece, claim in self._survey.claims():
            rest = self._rest(*PieceId.parse(piece), claim.hi)
            if rest is not None or PieceId.parse(piece).step == HOOK:
                lost.append((piece, str(claim.body), rest or []))
        self._portions("claims", "pieces", lost)

    def _steps(self) -> Iterator[tuple[str, int, int]]:
        """The steps that begin anew, each with its scope and body."""
        for name, cut in self._cuts.items():
            close = [CLOSE] if name != ROOT else []
            yield from ((name, cut.survey.scope.body, step) for step in (*sorted(cut.whole), *close))
        for name, scope in self._gone.items():
            yield from ((name, scope.body, step) for step in self._survey.body(scope.body))

    def _keys(self) -> Iterator[str]:
        """Keys below the run's that hold what the steps, and the scopes below them, made."""
        for name, kind, scope, step in self._survey.names():
            cut = self._cuts.get(scope)
            if cut is not None and step is not None:
                if step in cut.whole or -1 in cut.reopened.get(step, ()):
                    yield name
            elif scope in self._gone and kind in "obxqailm":
                yield name

    def _blocks(self) -> Iterator[tuple[str, str]]:
        """Blocks of fan-outs that hold nothing but items which are not done any more; of other blocks those are read
        over, since a later attempt holds.
        """
        partial = {(name, step): cut.undone(step) for name, cut in self._cuts.items() for step in cut.partial()}
        cells = {place: {item // CELL for item in items} for place, items in partial.items()}
        for name, kind, scope, step in self._survey.names() if partial else ():
            items = partial.get((scope, step)) if kind == "b" and step is not None else None
            if items and int(name.rpartition(":")[2]) in cells[scope, step]:  # type: ignore[index]
                for block, lo, hi in self._survey.block_fields(name):
                    if items.issuperset(range(lo, hi)):
                        yield name, block

    def _counters(self) -> Iterator[str]:
        """Numbers of steps of the root scope, and of bodies that are not entered any more."""
        numbers = dict(self._survey.fields("n"))
        for name in filter(None, numbers):
            body, _, step = name.partition(":")[0].partition(".")
            is_of_root = body == "0" and step
            if int(step) in self._cuts[ROOT].whole if is_of_root else int(numbers.get(f"{body}:scopes", 1)) <= 0:
                yield name

    # -- what goes on -----------------------------------------------------------------------------
    def _return_items(self, cut: _Cut, step: int) -> None:
        """Let items of a fan-out be claimed again, as far as what they follow is done; all its other items stay."""
        survey, items, scope = cut.survey, cut.items.get(step, set()), cut.survey.scope
        about: dict[str, Any] = {"scope": scope.id, "body": scope.body, "step": step}
        takes = [
            (text, _ranges(set(range(lo, hi)) - items))
            for text, lo, hi in self._survey.ranges(scope.id, step)
            if not items.isdisjoint(range(lo, hi))
        ]
        self._portions("take", "ranges", takes, **about)
        arrivals = dict.fromkeys(items, 0)
        for source in survey.followed[step]:
            for item in items & survey.done(source) - cut.undone(source):
                arrivals[item] += 1
        need = survey.entries[step].item_waits
        if need > 1:
            counts = [(item, count if count < need else 0) for item, count in arrivals.items()]
            self._portions("arrivals", "counts", counts, ARRIVALS, **about)
        if need or survey.items(step) is not None:
            arrived = {item for item, count in arrivals.items() if count == need}
            self._portions("put", "ranges", _ranges(arrived), **about)
        if survey.items(step) is None:
            return
        done = survey.done(step) - cut.undone(step)
        self._act("settle", done=len(done), is_late=bool(items), **about)

    def _count_left(self, cut: _Cut) -> None:
        """Count the steps of a scope that are not complete."""
        steps = {step for step in cut.survey.entries if step >= 0}
        done = {step for step in cut.survey.complete if not cut.undone(step)} - cut.whole
        self._act("left", scope=cut.survey.scope.id, left=len(steps - done))

    def _tell(self, cut: _Cut) -> None:
        """Tell the cleared steps again of all that stays done."""
        survey, scope = cut.survey, cut.survey.scope
        about: dict[str, Any] = {"scope": scope.id, "body": scope.body}
        for step in sorted(survey.entries.keys() - cut.whole):
            entry = survey.entries[step]
            followers = [s for s in entry.item_successors if s in cut.whole]
            is_complete = step in survey.complete and not cut.undone(step)
            if followers:
                done = _ranges(survey.done(step) - cut.undone(step))
                ranges = [(0, 0)] if is_complete and not survey.complete[step] else list(_cut_up(done))
                for follower in followers:
                    for portion in _few(ranges):
                        self._act("items", **about, step=follower, ranges=portion)
            if is_complete:
                self._portions("arrive", "steps", [s for s in entry.successors if s in cut.whole], **about)


def _within(scopes: Iterable[Scope], cuts: Mapping[str, _Cut]) -> dict[str, Scope]:
    """The scopes of what goes, and those within."""
    below = defaultdict(list)
    for scope in scopes:
        below[scope.parent].append(scope)
    waiting = [
        scope
        for name, cut in cuts.items()
        for scope in below[name]
        if scope.step in cut.whole or scope.index in cut.items.get(scope.step, ())
    ]
    inside = dict[str, Scope]()
    while waiting:
        scope = waiting.pop()
        if scope.id not in inside:
            inside[scope.id] = scope
            waiting += below[scope.id]
    return inside


def _ranges(items: Iterable[int]) -> list[Range]:
    """Some items as ranges, in order."""
    ranges: list[Range] = []
    for item in sorted(items):
        if ranges and ranges[-1][1] == item:
            ranges[-1] = ranges[-1][0], item + 1
        else:
            ranges.append((item, item + 1))
    return ranges


def _cut_up(ranges: Iterable[Range]) -> Iterator[Range]:
    """The same items, in ranges that one script may tell of."""
    for lo, hi in ranges:
        for at in range(lo, hi, ARRIVALS):
            yield at, min(hi, at + ARRIVALS)


def _few(ranges: Iterable[Range]) -> Iterator[list[Range]]:
    """Ranges in portions that one script may tell of."""
    portion: list[Range] = []
    size = 0
    for lo, hi in ranges:
        if portion and size + hi - lo > ARRIVALS:
            yield portion
            portion, size = [], 0
        portion.append((lo, hi))
        size += hi - lo
    if portion:
        yield portion
