"""A run as a trace that ui.perfetto.dev and chrome://tracing open: which process executed what, when, and after what.

Each process that worked on the run is a track, and each piece that it executed a slice: its address, attempt, state and
number of items, and nothing else; parameters and values are in no trace. Arrows lead from what a piece waited for, and
from an attempt that failed to the next one. It is made of the events that the run keeps; what these do not tell is
shown as ranges, a node each.

Times are the store's: how far a worker's clock is off is known from its pieces, none of which can have ended after it
was committed.

The format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import itertools
import json
import math
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dagcelery.client.activity import alive
from dagcelery.client.following import Feed, RunEvent
from dagcelery.client.places import address_of
from dagcelery.client.status import run_status
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView
from dagcelery.errors import BadSignature, RunNotFound
from dagcelery.planner.topology import topology
from dagcelery.store.records import ROOT, START, Event, PieceId, RunRecord, Spot, scope_id, worker_of

_PAGE: Final = 500

MOST_ARROWS: Final = 20_000
"""What is left out is counted in ``otherData``."""

_COLORS: Final = {"failed": "terrible", "retried": "bad", "skipped": "grey", "running": "thread_state_running"}
"""Names of colours in chrome://tracing; Perfetto has its own, by name."""

_WORDS: Final = {"failed": "failed", "retried": "failed, tried again", "skipped": "skipped", "running": "running"}

_OVERLAP_SECONDS: Final = 0.00005
"""Two clocks measure when a piece began and how long it took: so much is put right, and what is more is a thread."""


@dataclass(slots=True)
class _Slice:
    """A piece on its way through a process, or items of a fan-out that were committed together."""

    scope: str
    step: int
    lo: int
    hi: int
    body: int
    address: str
    state: str
    attempt: int
    owner: str
    started: float
    ended: float
    is_end: bool = False
    """It only ends a piece that entered a nested DAG, or made a graph."""
    track: tuple[int, int] = (0, 0)

    @property
    def items(self) -> int:
        """How many pieces it stands for."""
        return max(1, self.hi - self.lo)


def write(trace: Mapping[str, Any], path: str) -> None:
    """Write a trace to a file."""
    Path(path).write_text(json.dumps(trace, ensure_ascii=False, separators=(",", ":")), "utf-8", "backslashreplace")


def trace(control: RunControl, run_id: str) -> dict[str, Any]:
    """Return a run, over or not, as a trace: an object of the Trace Event format, ready for JSON.

    Raises RunNotFound.
    """
    progress = control.store.reader.progress(run_id, counted=False)
    if progress is None:
        raise RunNotFound(run_id)
    record, view = progress.record, control.view(run_id)
    view.look(record.epoch)
    told = _Told(control, view)
    told.read()
    spots = alive(control, progress.outstanding, progress.now)
    slices = [*told.slices(), *_running(view, spots.claimed, progress.now)]
    origin = min([record.created, *(each.started for each in slices)])
    drawing = _Drawing(origin)
    drawing.name_process(1, f"run {record.name}", "run")
    for span in _spans(record, progress.now):
        drawing.span(1, 1, *span, {"run": run_id, "state": record.state})
    not_kept = drawing.ranges(2, _not_kept(control, run_id, told.items, progress.now)) if told.has_missed else 0
    drawing.processes(3, slices)
    left_out = drawing.arrows(itertools.chain(_retries(slices), _Dependencies(view, slices).arrows()))
    about = {"run": run_id, "dag": record.name, "state": record.state, "created": _moment(record.created)}
    numbers = {"pieces_not_kept": not_kept, "arrows_left_out": left_out}
    return {"traceEvents": drawing.events, "displayTimeUnit": "ms", "otherData": about | numbers}


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


# -- slices ---------------------------------------------------------------------------------------
class _Told:
    """What the events of a run tell of its pieces."""

    def __init__(self, control: RunControl, view: RunView) -> None:
        self._reader, self._view = control.store.reader, view
        self._feed = Feed(control, view.run_id, "")
        self._claims: dict[tuple[Any, ...], list[tuple[Event, RunEvent]]] = defaultdict(list)
        self.items: Counter[str] = Counter()
        self.has_missed = False

    def read(self) -> None:
        """Read all events, and put those of pieces that were claimed together side by side."""
        position = ""
        while page := self._reader.events(self._view.run_id, position, _PAGE):
            self._view.have_scopes(PieceId.parse(event.piece).scope for event in page if event.piece)
            for event in page:
                self.has_missed = self.has_missed or event.kind == "missed"
                if event.piece:
                    self._add(event)
            position = page[-1].id

    def _add(self, event: Event) -> None:
        told = self._feed.run_event(event)
        scope, step, _ = PieceId.parse(event.piece)
        self._claims[event.owner, scope, step, event.attempt, event.started].append((event, told))
        if event.kind in ("done", "skipped"):
            self.items[told.node] += told.items

    def slices(self) -> Iterator[_Slice]:
        """Yield slices, by the clock of the store."""
        late: dict[str, float] = defaultdict(lambda: math.inf)
        claims = [(claim, _seconds(claim)) for claim in self._claims.values()]
        for claim, seconds in claims:
            event, told = claim[-1]
            worker = event.owner.partition(":")[0]
            late[worker] = min(late[worker], told.at - event.started - seconds)
        for claim, seconds in claims:
            event = claim[0][0]
            for each in _laid_out(claim, seconds, late[event.owner.partition(":")[0]]):
                each.is_end = self._is_end(each)
                yield each

    def _is_end(self, each: _Slice) -> bool:
        program = self._view.program
        if each.step < 0 or not program.knows(each.body):
            return False
        step = program.step(each.body, each.step)
        return step.kind == "dag" or "dynamic" in step.options


def _seconds(claim: Sequence[tuple[Event, RunEvent]]) -> float:
    """Return how long a claim took: items that are done share its time, one that failed is told with all of it."""
    whole = [event.seconds for event, _ in claim if event.kind != "done"]
    return max(whole) if whole else sum(event.seconds for event, _ in claim)


def _laid_out(claim: Sequence[tuple[Event, RunEvent]], seconds: float, offset: float) -> Iterator[_Slice]:
    """Yield the pieces of a claim one behind the other: how long each of its items took is not known."""
    each = seconds / sum(told.items or 1 for _, told in claim)
    at = claim[0][0].started + offset
    for event, told in claim:
        scope, step, lo = PieceId.parse(event.piece)
        ended = at + each * (told.items or 1)
        about = (event.body, told.address or told.node, event.kind, event.attempt, event.owner)
        yield _Slice(scope, step, lo, event.hi, *about, at, ended)
        at = ended


def _running(view: RunView, claimed: Sequence[Spot], now: float) -> Iterator[_Slice]:
    """Yield what is being executed at this moment."""
    view.have_scopes(spot.scope for spot in claimed)
    for spot in claimed:
        try:
            scope = view.scope(spot.scope)
        except BadSignature:  # it was taken back meanwhile
            continue
        if spot.step >= 0:
            address = address_of(view, scope, spot.step, spot.lo, spot.hi)
            about = (scope.body, address, "running", spot.attempt, spot.owner)
            yield _Slice(spot.scope, spot.step, spot.lo, spot.hi, *about, spot.at, max(spot.at, now))


def _spans(record: RunRecord, now: float) -> Iterator[tuple[str, float, float]]:
    """Yield when the run waited for its first piece, and when it went on, between a resume and the next end."""
    ended = record.ended if record.is_over else now
    started = record.started or ended
    if started > record.created:
        yield "waits for its first piece", record.created, started
    begins = [started, *(to for _, to in record.pauses)]
    ends = [*(at for at, _ in record.pauses), ended]
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True), 1):
        if end > begin:
            yield f"{record.name}{f' (resumed, {number})' if number > 1 else ''}", begin, end


def _not_kept(
    control: RunControl, run_id: str, told: Mapping[str, int], now: float
) -> Iterator[tuple[str, int, float, float]]:
    """Yield of which nodes pieces are done that no event tells of any more, how many, and in which time."""
    for node in run_status(control, run_id).nodes:
        missing = node.done + node.skipped - told.get(node.name, 0)
        if missing > 0 and node.started is not None:
            yield node.name, missing, node.started, max(node.started, node.ended or now)


# -- arrows ---------------------------------------------------------------------------------------
_Arrow = tuple[str, _Slice, _Slice]


def _retries(slices: Iterable[_Slice]) -> Iterator[_Arrow]:
    """Yield arrows from attempts that failed to the next ones."""
    before: dict[tuple[str, int, int], _Slice] = {}
    for each in sorted(slices, key=lambda each: each.started):
        last = before.get((each.scope, each.step, each.lo))
        if last is not None and last.state in ("retried", "failed"):
            yield "retry", last, each
        before[each.scope, each.step, each.lo] = each


class _Ends:
    """What has ended at one step of a scope, or in one scope: added in this order, and looked up by time."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._slices: list[_Slice] = []
        self._items: dict[int, _Ends] = {}
        self._numbers: list[int] = []

    def add(self, ended: _Slice) -> None:
        """Add what has ended."""
        self._times.append(ended.ended)
        self._slices.append(ended)

    def add_item(self, ended: _Slice) -> None:
        """Add it, to be looked up by its first item, too."""
        self.add(ended)
        self._items.setdefault(ended.lo, _Ends()).add(ended)

    def last(self, at: float) -> list[_Slice]:
        """Return what had ended last at a time, if anything had; clocks differ by a little."""
        number = bisect_right(self._times, at + 0.001)
        return self._slices[max(0, number - 1) : number]

    def all(self, at: float) -> Iterator[_Slice]:
        """Yield all that had ended, of each item what was last."""
        for item in self._items.values():
            yield from item.last(at)

    def item(self, index: int, at: float) -> list[_Slice]:
        """Return what had ended last of what begins with an item, or lies nearest before it."""
        if len(self._numbers) < len(self._items):
            self._numbers = sorted(self._items)
        number = bisect_right(self._numbers, index)
        found = self._items[self._numbers[number - 1]].last(at) if number else []
        return [each for each in found if each.lo <= index < each.hi]


class _Dependencies:
    """Finds what each piece waited for, in its scope and, where it is the first of its scope, around that."""

    def __init__(self, view: RunView, slices: Sequence[_Slice]) -> None:
        self._view, self._slices = view, slices
        self._of_steps: dict[tuple[str, int], _Ends] = defaultdict(_Ends)
        self._of_scopes: dict[str, _Ends] = defaultdict(_Ends)
        self._waits: dict[int, Mapping[int, list[tuple[int, bool]]]] = {}
        for each in sorted(slices, key=lambda each: each.ended):
            if each.state in ("done", "skipped"):
                self._of_steps[each.scope, each.step].add_item(each)
                self._of_scopes[each.scope].add(each)
        self._again = {id(after) for _, _, after in _retries(slices)}

    def arrows(self) -> Iterator[_Arrow]:
        """Yield an arrow for each edge; of a barrier in front of items only from what was waited for last."""
        for each in self._slices:
            if id(each) not in self._again:
                for source in self._sources(each):
                    yield "waits for", source, each

    def _sources(self, target: _Slice) -> Iterator[_Slice]:
        inner = scope_id(self._view.run_id, target.scope, target.step, target.lo) if target.is_end else ""
        if inner in self._of_scopes:
            yield from self._of_scopes[inner].last(target.started)
            return
        scope, step, lo = target.scope, target.step, target.lo
        while not (waits := self._waits_of(scope, step)) and scope != ROOT:
            try:
                place = self._view.scope(scope)
            except BadSignature:  # it was taken back meanwhile
                return
            scope, step, lo = place.parent, place.step, place.index
        for source, is_by_item in waits:
            ended = self._of_steps.get((scope, source))
            if ended is None:
                continue
            if is_by_item:
                yield from ended.item(lo, target.started)
            else:
                yield from ended.last(target.started) if lo >= 0 else ended.all(target.started)

    def _waits_of(self, scope: str, step: int) -> Sequence[tuple[int, bool]]:
        """Return the steps that a step waits for, and whether it does so item by item."""
        try:
            body = self._view.scope(scope).body
        except BadSignature:  # it was taken back meanwhile
            return ()
        if body not in self._waits:
            self._waits[body] = self._read(body)
        return self._waits[body].get(step, ())

    def _read(self, body: int) -> Mapping[int, list[tuple[int, bool]]]:
        waits: dict[int, list[tuple[int, bool]]] = defaultdict(list)
        home = self._view.program.home(body)
        for source, entry in topology(home[0])[home[1]].items() if home else ():
            if source > START:
                for target in entry.successors:
                    waits[target].append((source, False))
                for target in entry.item_successors:
                    waits[target].append((source, True))
        return waits


# -- the format -----------------------------------------------------------------------------------
class _Drawing:
    """Events of a trace: times in microseconds since its origin, tracks and processes by number, and named."""

    def __init__(self, origin: float) -> None:
        self.events: list[dict[str, Any]] = []
        self._origin = origin
        self._tracks = itertools.count(2)

    def _microseconds(self, at: float) -> int:
        return max(0, round((at - self._origin) * 1e6))

    def name_process(self, process: int, name: str, track: str = "") -> None:
        """Name a process, and its only track."""
        self._name("process", process, 0, name)
        if track:
            self._name("thread", process, 1, track)

    def _name(self, what: str, process: int, track: int, name: str) -> None:
        place = {"ph": "M", "pid": process, "tid": track, "ts": 0}
        self.events.append(place | {"name": f"{what}_name", "args": {"name": name}})
        self.events.append(place | {"name": f"{what}_sort_index", "args": {"sort_index": track or process}})

    def span(self, process: int, track: int, name: str, begin: float, end: float, about: Mapping[str, Any]) -> None:
        """Draw a slice."""
        ts = self._microseconds(begin)
        times = {"ts": ts, "dur": max(1, self._microseconds(end) - ts)}
        self.events.append({"ph": "X", "pid": process, "tid": track, "name": name, **times, "args": dict(about)})

    def ranges(self, process: int, ranges: Iterable[tuple[str, int, float, float]]) -> int:
        """Draw what no event tells of any more, a track a node; return how many pieces that is."""
        pieces = 0
        for name, number, begin, end in ranges:
            if not pieces:
                self.name_process(process, "pieces whose events are not kept")
            pieces, track = pieces + number, next(self._tracks)
            self._name("thread", process, track, name)
            self.span(process, track, f"{number:,} pieces of {name}", begin, end, {"node": name, "pieces": number})
        return pieces

    def processes(self, first: int, slices: Iterable[_Slice]) -> None:
        """Draw slices, of each worker a process and of each of its processes a track; threads have one each."""
        of_workers: dict[str, dict[str, list[_Slice]]] = defaultdict(lambda: defaultdict(list))
        for each in slices:
            worker, _, rest = each.owner.partition(":")
            of_workers[worker][rest.partition(":")[0]].append(each)
        for number, worker in enumerate(sorted(of_workers), first):
            self.name_process(number, worker_of(worker) or "(unknown)")
            for process, executed in sorted(of_workers[worker].items()):
                self._lanes(number, f"pid {process}" if process else "(unknown)", executed)

    def _lanes(self, process: int, name: str, slices: list[_Slice]) -> None:
        """Put slices that overlap on tracks of their own: the format wants them one behind the other."""
        lanes: list[tuple[int, float]] = []
        for each in sorted(slices, key=lambda each: (each.started, each.ended)):
            free = (at for at, (_, end) in enumerate(lanes) if each.started >= end - _OVERLAP_SECONDS)
            lane = next(free, len(lanes))
            if lane == len(lanes):
                lanes.append((next(self._tracks), -math.inf))
                self._name("thread", process, lanes[lane][0], f"{name}{f' ({lane + 1})' if lane else ''}")
            track, end = lanes[lane]
            each.started = max(each.started, end)
            each.ended = max(each.ended, each.started + 1e-6)
            lanes[lane], each.track = (track, each.ended), (process, track)
            self._slice(each)

    def _slice(self, each: _Slice) -> None:
        word = _WORDS.get(each.state) or (f"attempt {each.attempt}" if each.attempt > 1 and not each.is_end else "")
        about = {"state": each.state, "attempt": each.attempt, "items": each.items, "worker": worker_of(each.owner)}
        self.span(*each.track, f"{each.address}{f' ({word})' if word else ''}", each.started, each.ended, about)
        self.events[-1]["cat"] = each.state
        if each.state in _COLORS:
            self.events[-1]["cname"] = _COLORS[each.state]

    def arrows(self, arrows: Iterable[_Arrow]) -> int:
        """Draw arrows, as many as there may be; return how many were left out."""
        number = 0
        for number, (name, source, target) in enumerate(arrows, 1):
            if number <= MOST_ARROWS:
                end = self._microseconds(target.started)
                begin = min(self._microseconds(source.ended) - 1, end)
                about = {"name": name, "cat": name, "id": number}
                self._flow("s", source, max(begin, self._microseconds(source.started)), about)
                self._flow("f", target, end, about | {"bp": "e"})
        return max(0, number - MOST_ARROWS)

    def _flow(self, phase: str, at: _Slice, ts: int, about: Mapping[str, Any]) -> None:
        process, track = at.track
        self.events.append({"ph": phase, "pid": process, "tid": track, "ts": ts, **about})
