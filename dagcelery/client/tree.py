"""A run as a tree: its nodes, below those that map a DAG their items, and below these the nodes within; below those
that made a graph while they ran the nodes of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from dagcelery.client.activity import WORDS, RunningPiece, activities, alive, running_pieces
from dagcelery.client.status import state_of
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView
from dagcelery.errors import BadSignature, RunNotFound
from dagcelery.store.records import CLOSE, ROOT, Counts, Progress, scope_id, worker_of


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A node of a run's tree, or one item of a DAG that is mapped (``train[3]``), or the run itself.

    Of a node `total` counts its pieces (None: not known yet), of an item and of the run the nodes within. `left_out`
    children are not shown. `started` and `ended` are known of nodes that have run once, else None, and so are the
    `worker` that executed it, ``celery@host pid 123``, and the `attempt`. `pieces` are being executed now, of many the
    first few.
    """

    name: str
    state: str
    total: int | None = None
    done: int = 0
    running: int = 0
    failed: int = 0
    retrying: int = 0
    skipped: int = 0
    started: float | None = None
    ended: float | None = None
    children: tuple[TreeNode, ...] = ()
    left_out: int = 0
    worker: str = ""
    attempt: int = 0
    pieces: tuple[RunningPiece, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return asdict(self)


def tree(control: RunControl, run_id: str, items: int, most: int) -> TreeNode:
    """Return up to `items` items of each mapped DAG, and up to `most` nodes in all.

    Raises RunNotFound.
    """
    progress, view = control.store.reader.progress(run_id, counted=False), control.view(run_id)
    if progress is None:
        raise RunNotFound(run_id)
    view.look(progress.record.epoch)
    shown = _Growth(control, view, progress, items, most).scope(ROOT)
    return replace(shown, name=progress.record.name, state=progress.record.state)


class _Growth:
    """Grows a tree from the run to its items. Each scope is looked at once, the scopes of one level together."""

    def __init__(self, control: RunControl, view: RunView, progress: Progress, items: int, most: int) -> None:
        self._view = view
        self._is_over = progress.record.is_over
        self._items = items
        self._left = most
        self._counts: dict[str, Mapping[int, Counts]] = {}
        self._closed: set[str] = set()
        self._skipped: set[str] = set()
        self._inner: dict[tuple[str, int], list[int]] = {}
        self._bodies = {ROOT: 0}
        spots = alive(control, progress.outstanding, progress.now)
        self._activity = activities(view, spots, is_over=self._is_over)
        self._pieces = running_pieces(view, spots.claimed)
        level = [ROOT]
        while level and self._left > 0:
            wanted = {scope: self._steps(scope) for scope in level}
            for scope, counts in control.store.reader.within(view.run_id, wanted).items():
                self._counts[scope] = {step: of_step for step, of_step in counts.items() if step != CLOSE}
                if counts[CLOSE].done:
                    self._closed.add(scope)
                elif counts[CLOSE].skipped:
                    self._skipped.add(scope)
            level = [inner for scope in level for inner in self._open(scope)]

    def _steps(self, scope: str) -> range:
        """Return the steps of a scope, as many as may still be shown."""
        size = len(self._view.program.body(self._bodies[scope]).steps)
        shown = range(max(0, min(size, self._left)))
        self._left -= len(shown) + 1
        return shown

    def _open(self, scope: str) -> Iterator[str]:
        """Yield the scopes of those items that are to be shown: failed ones first, then active ones."""
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
        """Yield the scopes of plans that these pieces made, as far as they have made some."""
        for index in indexes:
            try:
                inner = self._view.scope(scope_id(self._view.run_id, scope, step, index))
            except BadSignature:  # it made none
                continue
            self._inner.setdefault((scope, step), []).append(index)
            self._bodies[inner.id] = inner.body
            yield inner.id

    # -- the tree ---------------------------------------------------------------------------------
    def scope(self, scope: str, name: str = "", word: str = "") -> TreeNode:
        """Return a scope, with the nodes within; `word` says what goes on in it."""
        counts = self._counts.get(scope, {})
        size = len(self._view.program.body(self._bodies[scope]).steps)
        children = tuple(self._node(scope, step, of_step) for step, of_step in counts.items())
        states, left_out = Counter(child.state for child in children), size - len(children)
        if scope in self._skipped:
            done, skipped = states["done"], states["skipped"]
            return TreeNode(name, "skipped", size, done, skipped=skipped, children=children, left_out=left_out)
        done, is_closed = states["done"] + states["skipped"], scope in self._closed
        others = {each: int(word == each) for each in WORDS}
        state = state_of(1, is_closed, 0, **others, is_begun=is_closed, is_over=self._is_over)
        return TreeNode(name, state, size, done, children=children, left_out=left_out)

    def _node(self, scope: str, step: int, counts: Counts) -> TreeNode:
        planned = self._view.program.body(self._bodies[scope]).steps[step]
        is_branch = "branch" in planned.options
        if is_branch and not counts.total:  # as in the status a branch that was not taken is one piece left out
            counts = counts._replace(total=1, skipped=1, is_begun=False)
        total = counts.total if planned.over is not None else 1
        activity = self._activity[scope, step]
        children = tuple(
            self.scope(inner, f"{planned.name}[{index}]", activity.items.get(index, ""))
            for index, inner in self._entered_items(scope, step).items()
        )
        others = activity.beside(counts)
        left_out = max(0, total - len(children)) if planned.kind == "dag" and not is_branch else 0
        is_begun = counts.is_begun and total >= 0
        if is_branch or planned.over is None:  # it has no items to be told, only nodes
            children = children[0].children if children else ()
        return TreeNode(
            planned.name,
            state_of(total, counts.done, counts.skipped, **others, is_begun=is_begun, is_over=self._is_over),
            None if total < 0 else total,
            counts.done,
            skipped=counts.skipped,
            started=counts.started or None,
            ended=counts.ended or None,
            children=children,
            left_out=left_out,
            **others,
            worker=worker_of(counts.owner),
            attempt=counts.attempt,
            pieces=self._pieces[scope, step],
        )

    def _entered_items(self, scope: str, step: int) -> dict[int, str]:
        """Return the scopes of those items of a step that are to be shown and have been entered, by index."""
        indexes = self._inner.get((scope, step), ())
        scopes = {index: scope_id(self._view.run_id, scope, step, index) for index in indexes}
        return {index: inner for index, inner in scopes.items() if inner in self._counts}
