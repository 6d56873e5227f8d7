"""What goes on in a run at one moment: what runs, waits for its next attempt or has failed, and in which items.

An item of a mapped DAG, and a piece that made a graph, run while one of the pieces within does: to be entered is not to
run. So nothing runs more often than there are processes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from dagcelery.client.places import address_of
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView
from dagcelery.errors import BadSignature
from dagcelery.store.records import ROOT, Counts, Outstanding, Scope, Spot, worker_of

SPOTS = 1_000
"""How many pieces of a kind are looked up in a run; others are only counted."""

WORDS = ("running", "retrying", "failed")


@dataclass(slots=True)
class Activity:
    """What goes on at a step of a scope: how many of its pieces, and in which of its items."""

    running: int = 0
    retrying: int = 0
    failed: int = 0
    items: dict[int, str] = field(default_factory=dict)

    def counts(self) -> Counter[str]:
        """How many pieces and items there are of each word."""
        return Counter(self.items.values()) + Counter({word: getattr(self, word) for word in WORDS})

    def beside(self, counts: Counts) -> dict[str, int]:
        """How many there are of each word beside what is done of a step.

        What was read last may know that a piece is done, of which it was read before that it runs.
        """
        others = {word: self.counts()[word] for word in WORDS}
        most = counts.total if counts.total >= 0 else 1
        others["running"] = max(0, min(others["running"], most - counts.done - counts.skipped))
        return others


def activities(view: RunView, spots: Outstanding, *, is_over: bool) -> Mapping[tuple[str, int], Activity]:
    """Return what goes on by scope and step; of a run that `is_over` nothing is tried again.

    An item in which something goes on has its word too, up to the root: of several the last one in `WORDS`.
    """
    by_word = {"running": spots.claimed, "retrying": () if is_over else spots.retrying, "failed": spots.failed}
    view.have_scopes(spot.scope for several in by_word.values() for spot in several[:SPOTS])
    by_step: dict[tuple[str, int], Activity] = defaultdict(Activity)
    for word, several in by_word.items():
        for spot in several[:SPOTS]:
            activity = by_step[spot.scope, spot.step]
            setattr(activity, word, getattr(activity, word) + 1)
            for around, scope in _ways_out(view, spot):
                by_step[around.id, scope.step].items[scope.index] = word
    return by_step


def _ways_out(view: RunView, spot: Spot) -> Iterator[tuple[Scope, Scope]]:
    """Yield each scope on the way from a spot to the root, behind the one around it."""
    try:
        scope = view.scope(spot.scope)
        while scope.id != ROOT:
            around = view.scope(scope.parent)
            yield around, scope
            scope = around
    except BadSignature:  # it was taken back meanwhile
        return


def alive(control: RunControl, spots: Outstanding, now: float) -> Outstanding:
    """Leave claims out that execute nothing: committed ones, of empty lists, and those that a sweep gives back, because
    their workers have not been heard of.
    """
    patience = control.settings.dead_seconds
    claimed = [spot for spot in spots.claimed if not spot.is_committed and (spot.lo < 0 or spot.hi > spot.lo)]
    if any(now - spot.at >= patience for spot in claimed):
        heard = {name for name, word in control.store.fleet.workers().items() if word["age"] < patience}
        claimed = [spot for spot in claimed if now - spot.at < patience or spot.owner.partition(":")[0] in heard]
    return replace(spots, claimed=claimed)


# -- processes and pieces -------------------------------------------------------------------------
MOST_SHOWN = 10
"""Pieces of a node that are shown."""


@dataclass(frozen=True, slots=True)
class RunningPiece:
    """A piece that a process executes now, or `items` of a fan-out that it took together: ``read[3]``, ``read[3:9]``.

    `worker` says which process: ``celery@host pid 123``. `started` is in seconds since the epoch, and `attempt` counts
    from 1.
    """

    address: str
    worker: str
    started: float
    attempt: int
    items: int = 1


def running_pieces(view: RunView, claimed: Iterable[Spot]) -> Mapping[tuple[str, int], tuple[RunningPiece, ...]]:
    """Return the pieces that are being executed by scope and step, of each step the first few."""
    pieces: dict[tuple[str, int], tuple[RunningPiece, ...]] = defaultdict(tuple)
    for _, spot in zip(range(SPOTS), claimed, strict=False):
        here = pieces[spot.scope, spot.step]
        if spot.step < 0 or len(here) >= MOST_SHOWN:
            continue
        try:
            address = address_of(view, view.scope(spot.scope), spot.step, spot.lo, spot.hi)
        except BadSignature:  # it was taken back meanwhile
            continue
        piece = RunningPiece(address, worker_of(spot.owner), spot.at, spot.attempt, max(1, spot.hi - spot.lo))
        pieces[spot.scope, spot.step] = (*here, piece)
    return pieces
