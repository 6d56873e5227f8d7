"""A run as a tree: its nodes, below those that map a DAG their items, and below these the nodes within; below those
that made a graph while they ran the nodes of that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dagcelery.engine.run_view import RunView
from dagcelery.engine.worker_loop import Engine
from dagcelery.errors import BadSignature, RunNotFound
from dagcelery.store.records import ROOT, Counts, Outstanding, Spot, scope_id

_SPOTS = 200


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A node of a run's tree, or one item of a DAG that is mapped (``train[3]``), or the run itself.

    Of a node `total` counts its pieces (-1: not known yet), of an item and of the run the nodes within. `left_out` are
    children that are not shown. `started` and `ended` are known of nodes that run once, else 0.
    """

    name: str
    state: str
    total: int = -1
    done: int = 0
    running: int = 0
    failed: int = 0
    retrying: int = 0
    skipped: int = 0
    started: float = 0.0
    ended: float = 0.0
    children: tuple[TreeNode, ...] = ()
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return asdict(self)


def tree(engine: Engine, run_id: str, items: int, most: int) -> TreeNode:
    """Show up to `items` items of each mapped DAG, and up to `most` nodes in all. Raises RunNotFound."""
    record = engine.store.reader.record(run_id)
    if record is None:
        raise RunNotFound(run_id)
    view = engine.view(run_id)
    view.look(record.epoch)
    grown = _Growth(engine, view, items, most)
    shown = grown.scope(ROOT)
    return replace(shown, name=record.name, state=record.state)


@dataclass(slots=True)
class _Activity:
    """What is going on below a step of a scope, and in which of its items."""

    running: int = 0
    failed: int = 0
    retrying: int = 0
    items: dict[int, str] = field(default_factory=dict)


class _Growth:
    """Grows a tree from the run to its items. Each scope is looked at once, the scopes of one level together."""

    def __init__(self, engine: Engine, view: RunView, items: int, most: int) -> None:
        self._view = view
        self._items = items
        self._left = most
        self._activity: dict[tuple[str, int], _Activity] = defaultdict(_Activity)
        self._counts: dict[str, Mapping[int, Counts]] = {}
        self._inner: dict[tuple[str, int], list[int]] = {}
        self._bodies = {ROOT: 0}
        self._note(engine.store.reader.outstanding(view.run_id))
        level = [ROOT]
        while level and self._left > 0:
            wanted = {scope: self._steps(scope) for scope in level}
            self._counts |= engine.store.reader.within(view.run_id, wanted)
            level = [inner for scope in level for inner in self._open(scope)]

    def _steps(self, scope: str) -> range:
        """The steps of a scope, as many as may still be shown."""
        size = len(self._view.program.body(self._bodies[scope]).steps)
        shown = range(max(0, min(size, self._left)))
        self._left -= len(shown) + 1
        return shown

    def _open(self, scope: str) -> Iterator[str]:
        """The scopes of those items of a scope that are to be shown: failed ones first, then what is going on."""
        body = self._view.program.body(self._bodies[scope])
        for step, counts in self._counts.get(scope, {}).items():
            planned = body.steps[step]
            if "dynamic" in planned.options and planned.over is None:
                yield from self._entered(scope, step, [-1])
            if planned.over is None or counts.total < 0 or (planned.kind != "dag" and "dynamic" not in planned.options):
                continue
            urgent = self._activity[scope, step].items
            first = sorted(urgent, key=lambda index: (urgent[index] != "failed", index))
            chosen = list(dict.fromkeys([*first, *range(min(counts.total, self._items))]))[: self._items]
            if planned.kind == "dag":
                self._inner[scope, step] = sorted(chosen)
                for index in self._inner[scope, step]:
                    inner = scope_id(self._view.run_id, scope, step, index)
                    self._bodies[inner] = planned.target
                    yield inner
            else:
                yield from self._entered(scope, step, sorted(chosen))

    def _entered(self, scope: str, step: int, indexes: Iterable[int]) -> Iterator[str]:
        """The scopes of plans that these pieces made, as far as they have made some."""
        for index in indexes:
            try:
                inner = self._view.scope(scope_id(self._view.run_id, scope, step, index))
            except BadSignature:  # there is no such scope
                continue
            self._inner.setdefault((scope, step), []).append(index)
            self._bodies[inner.id] = inner.body
            yield inner.id

    # -- what is going on -------------------------------------------------------------------------
    def _note(self, found: Outstanding) -> None:
        spots: Iterable[tuple[str, Sequence[Spot]]] = (
            ("running", found.claimed),
            ("retrying", found.retrying),
            ("failed", found.failed),
        )
        for word, several in spots:
            for spot in several[:_SPOTS]:
                activity = self._activity[spot.scope, spot.step]
                setattr(activity, word, getattr(activity, word) + max(1, spot.hi - spot.lo))
                self._climb(spot.scope, word)

    def _climb(self, name: str, word: str) -> None:
        """Say of each scope above that something is going on in it."""
        try:
            scope = self._view.scope(name)
            while scope.id != ROOT:
                self._activity[scope.parent, scope.step].items[scope.index] = word
                scope = self._view.scope(scope.parent)
        except BadSignature:  # it was taken back meanwhile
            return

    # -- the tree ---------------------------------------------------------------------------------
    def scope(self, scope: str, name: str = "") -> TreeNode:
        """A scope, with the nodes within."""
        counts = self._counts.get(scope, {})
        size = len(self._view.program.body(self._bodies[scope]).steps)
        children = tuple(self._node(scope, step, found) for step, found in counts.items())
        done = sum(child.state in ("done", "skipped") for child in children)
        states = {child.state for child in children}
        state = next((word for word in ("failed", "retrying", "running") if word in states), "")
        state = state or ("done" if done == size and counts else "running" if done else "waiting")
        if not counts and scope not in self._counts:
            return TreeNode(name, "waiting", size)
        return TreeNode(name, state, size, done, children=children, left_out=size - len(children))

    def _node(self, scope: str, step: int, counts: Counts) -> TreeNode:
        planned = self._view.program.body(self._bodies[scope]).steps[step]
        activity, inner = self._activity[scope, step], self._inner.get((scope, step), [])
        total = counts.total if planned.over is not None else 1
        words = list(activity.items.values())
        known = {
            "running": activity.running + words.count("running"),
            "failed": activity.failed + words.count("failed"),
            "retrying": activity.retrying + words.count("retrying"),
        }
        within = (
            self.scope(scope_id(self._view.run_id, scope, step, index), f"{planned.name}[{index}]")
            for index in inner
            if scope_id(self._view.run_id, scope, step, index) in self._counts
        )
        children = tuple(within)
        if inner == [-1]:  # a piece that runs once is itself what lies below it
            children = children[0].children if children else ()
        state = _state(counts, total, known)
        if "branch" in planned.options:  # it has no items to be told, only nodes
            children = children[0].children if children else ()
            state = state if total else "skipped"
        return TreeNode(
            planned.name,
            state,
            total,
            counts.done,
            skipped=counts.skipped,
            started=counts.started,
            ended=counts.ended,
            children=children,
            left_out=max(0, total - len(children)) if planned.kind == "dag" else 0,
            **known,
        )


def _state(counts: Counts, total: int, known: Mapping[str, int]) -> str:
    over = counts.done + counts.skipped
    for word in ("failed", "retrying", "running"):
        if known[word]:
            return word
    return "done" if 0 <= total <= over else "running" if over else "waiting"
