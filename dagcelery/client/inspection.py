"""One node of a run as a page shows it: how far it is, its items, its attempts, and what it was given and gave back.

Only the items that are asked for are looked at. Which of them failed, run, or are tried again is outstanding, and known
of all; of others a page at a time. Times and workers of items come from the run's events, of which the newest 10,000
are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dagcelery.client import shown_values
from dagcelery.client.activity import WORDS
from dagcelery.client.following import Failure
from dagcelery.client.node import Look
from dagcelery.client.places import BranchNotTaken, NotThere
from dagcelery.client.shown_values import ShownInput, ShownValue
from dagcelery.client.tree import TreeNode
from dagcelery.engine.run_control import RunControl
from dagcelery.errors import DagceleryError, InvalidParameters
from dagcelery.planner.plan import Step
from dagcelery.store.records import Event, PieceId, Spot, worker_of
from dagcelery.text import choices, shown

STATES: Final = ("waiting", "running", "retrying", "failed", "done", "skipped", "stopped")
MOST_ITEMS: Final = 1_000
"""Items that one page has at most."""
_WINDOW: Final = 1_000
_MOST_WINDOWS: Final = 10
_MOST_ATTEMPTS: Final = 100
_MOST_LOOKED: Final = 2_000
"""Failures of a run that are looked through for those of one node."""
_MOST_BUCKETS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a fan-out; what is not known of it, or not any more, is None or ""."""

    index: int
    state: str
    seconds: float | None = None
    attempt: int = 0
    worker: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of a piece: how it ended, or that it runs; `error` says why it failed."""

    address: str
    attempt: int
    state: str
    started: float | None
    seconds: float | None
    worker: str
    error: Failure | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        told = {name: getattr(self, name) for name in self.__slots__}
        error = self.error
        names = ("address", "attempt", "type_name", "message", "traceback", "stands")
        return told | {"error": None if error is None else {name: getattr(error, name) for name in names}}


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node, an item, or a node within one. `items` are those that were asked for, `states` counts all of them, and
    `next` is the index to go on with, None at the end.
    """

    node: TreeNode
    items: tuple[Item, ...]
    total: int | None
    states: Mapping[str, int]
    next: int | None
    inputs: tuple[ShownInput, ...]
    result: ShownValue
    attempts: tuple[Attempt, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {
            "node": self.node.to_dict(),
            "items": [item.to_dict() for item in self.items],
            "total": self.total,
            "states": dict(self.states),
            "next": self.next,
            "inputs": [given.to_dict() for given in self.inputs],
            "result": self.result.to_dict(),
            "attempts": [attempt.to_dict() for attempt in self.attempts],
        }


@dataclass(frozen=True, slots=True)
class Density:
    """When the items of a node started and ended: how many of them in each of so many equal parts of a time.

    `missed` if the oldest events are not kept any more.
    """

    first: float | None
    last: float | None
    buckets: tuple[tuple[int, int], ...]
    missed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        buckets = [list(bucket) for bucket in self.buckets]
        return {"from": self.first, "to": self.last, "buckets": buckets, "missed": self.missed}


def inspect(control: RunControl, run_id: str, address: str, first: int, limit: int, state: str | None) -> NodeView:
    """Return a node with up to `limit` of its items from `first` on, of those in a `state` if that is asked for.

    Raises RunNotFound, InvalidParameters.
    """
    if state is not None and state not in STATES:
        raise InvalidParameters(f"state={shown(state)}", "is not a state of an item", choices(state, STATES))
    return _Inspection(control, run_id, address).view(first, max(1, min(limit, MOST_ITEMS)), state)


def density(control: RunControl, run_id: str, address: str, buckets: int) -> Density:
    """Return when the items of a node, or of a range of them, started and ended. Raises what `inspect` does."""
    return _Inspection(control, run_id, address).density(max(1, min(buckets, _MOST_BUCKETS)))


class _Inspection:
    def __init__(self, control: RunControl, run_id: str, address: str) -> None:
        self._look = Look(control, run_id, address)
        self._address = address

    def view(self, first: int, limit: int, state: str | None) -> NodeView:
        """Return the place as it is now."""
        try:
            spot, step = self._look.found()
        except NotThere as absent:
            why = "its branch was not taken" if isinstance(absent, BranchNotTaken) else "it has not begun"
            return NodeView(self._look.status(), (), None, {}, None, (), ShownValue("none", why), ())
        node = self._look.status()
        events = list(self._events(spot))
        has_items = step.over is not None and "branch" not in step.options and spot.lo < 0
        total, states = node.total if has_items else None, dict[str, int]()
        items, following = list[Item](), None
        if total is not None:
            states = {word: number for word, number in _states(node, total).items() if number}
            items, following = self._items(spot, step, total, first, limit, state, events)
        view = self._look.view
        given = shown_values.inputs(view, spot)
        attempts = tuple(self._attempts(spot, node, events))
        return NodeView(node, tuple(items), total, states, following, tuple(given), self._result(spot, node), attempts)

    def _result(self, spot: Spot, node: TreeNode) -> ShownValue:
        if node.state not in ("done", "skipped"):
            return ShownValue("none", "it has failed" if node.state == "failed" else f"it is {node.state}")
        return shown_values.result(self._look.view, spot)

    # -- items ------------------------------------------------------------------------------------
    def _items(
        self,
        spot: Spot,
        step: Step,
        total: int,
        first: int,
        limit: int,
        state: str | None,
        events: Sequence[tuple[Event, int, int]],
    ) -> tuple[list[Item], int | None]:
        last = {index: event for event, lo, hi in events for index in range(max(lo, first), hi)}
        found, at = list[Item](), max(0, first)
        if state in WORDS:
            if self._look.is_over and state != "failed":
                return [], None
            urgent = sorted(index for index, word in self._look.urgent(spot).items() if word == state and index >= at)
            chosen = [_item(index, state, last.get(index)) for index in urgent[:limit]]
            return chosen, urgent[limit] if len(urgent) > limit else None
        for _ in range(_MOST_WINDOWS):
            upto = min(total, at + (limit if state is None else _WINDOW))
            if at >= upto:
                return found, None
            words = self._look.words(spot._replace(lo=at, hi=upto), step)
            for index in range(at, upto):
                if state in (None, words[index]):
                    found.append(_item(index, words[index], last.get(index)))
                    if len(found) == limit:
                        return found, index + 1 if index + 1 < total else None
            at = upto
        return found, at if at < total else None

    def _events(self, spot: Spot) -> Iterator[tuple[Event, int, int]]:
        """Yield the events of a place that are kept, oldest first, with the items that each is about."""
        for event in self._look.events:
            if event.piece.startswith(f"{spot.scope}/{spot.step}"):
                piece = PieceId.parse(event.piece)
                hi = max(event.hi, piece.lo + 1)
                if piece.step == spot.step and (spot.lo < 0 or (piece.lo < spot.hi and spot.lo < hi)):
                    yield event, piece.lo, hi

    # -- attempts ---------------------------------------------------------------------------------
    def _attempts(self, spot: Spot, node: TreeNode, events: Sequence[tuple[Event, int, int]]) -> Iterator[Attempt]:
        """Yield the attempts of a piece, and of what has many pieces those that failed, oldest first."""
        try:
            failures = self._look.errors(_MOST_LOOKED)
        except DagceleryError:  # no key here has signed them
            failures = []
        is_one = node.total == 1 and (spot.lo >= 0 or not node.children)
        told = {event.attempt: event for event, _, _ in events if event.kind in _ENDS}
        by_attempt = {failure.attempt: failure for failure in failures if failure.address == self._address}
        others = [failure for failure in failures if not is_one or failure.address != self._address]
        for number in sorted(told.keys() | by_attempt.keys()) if is_one else ():
            event, error = told.get(number), by_attempt.get(number)
            if event is None:
                yield Attempt(self._address, number, "failed", None, None, "", error)
            else:
                state = "failed" if error is not None else _ENDS[event.kind]
                times = event.started or None, event.seconds
                yield Attempt(self._address, number, state, *times, worker_of(event.owner), error)
        for error in others[:_MOST_ATTEMPTS]:
            yield Attempt(error.address, error.attempt, "failed", None, None, "", error)
        for piece in node.pieces if is_one else ():
            yield Attempt(piece.address, piece.attempt, "running", piece.started, None, piece.worker)

    # -- over time --------------------------------------------------------------------------------
    def density(self, buckets: int) -> Density:
        """Return when items started and ended."""
        spot, _ = self._look.found()
        pieces = [(event.started, event.started + event.seconds, hi - lo) for event, lo, hi in self._events(spot)]
        pieces = [piece for piece in pieces if piece[0]]
        missed = next((event.kind == "missed" for event in self._look.events), False)
        if not pieces:
            return Density(None, None, (), missed)
        first, last = min(at for at, _, _ in pieces), max(to for _, to, _ in pieces)
        width = (last - first) / buckets or 1.0
        starts, ends = Counter[int](), Counter[int]()
        for start, end, items in pieces:
            for at in range(items):  # those of a range follow each other
                starts[int((start + (end - start) * at / items - first) / width)] += 1
                ends[int((start + (end - start) * (at + 1) / items - first) / width)] += 1
        ends[buckets - 1] += ends.pop(buckets, 0)
        starts[buckets - 1] += starts.pop(buckets, 0)
        return Density(first, last, tuple((starts[at], ends[at]) for at in range(buckets)), missed)


_ENDS: Final = {"done": "done", "failed": "failed", "retried": "failed", "skipped": "skipped"}


def _states(node: TreeNode, total: int) -> dict[str, int]:
    counts = {word: getattr(node, word) for word in ("done", "skipped", *WORDS)}
    rest = max(0, total - sum(counts.values()))
    return counts | {"stopped" if node.state in ("stopped", "failed") else "waiting": rest}


def _item(index: int, word: str, event: Event | None) -> Item:
    if event is None:
        return Item(index, word)
    items = max(1, event.hi - PieceId.parse(event.piece).lo)
    return Item(index, word, event.seconds / items, event.attempt, worker_of(event.owner))


def summary(node: TreeNode, address: str) -> NodeView:
    """Return a node of which only the counts are known, such as one in all items of a mapped DAG."""
    why = ShownValue("none", "each item has its own; name one, as in train[3]/fit")
    return NodeView(replace(node, name=address), (), None, {}, None, (), why, ())
