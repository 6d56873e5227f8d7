"""One place in a run, a node or an item of it: its result, how far it is, and its errors.

Nothing here waits. What has no result raises, and the error says why: it failed, was left out or freed, or is not done.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

from dagcelery.client import following
from dagcelery.client.activity import WORDS, activities, alive, running_pieces
from dagcelery.client.following import Failure
from dagcelery.client.logs import PieceLog, logs
from dagcelery.client.places import BranchNotTaken, NotThere, find_place
from dagcelery.client.shaped import LISTED, Shaped, only_parts, path_text
from dagcelery.client.status import state_of
from dagcelery.client.tree import TreeNode
from dagcelery.engine.io import Reader
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView
from dagcelery.errors import (
    BadSignature,
    DeserializationError,
    NodeFailed,
    NodeNotDone,
    NodeSkipped,
    RunNotFound,
    ValueFreed,
)
from dagcelery.payload import values
from dagcelery.planner.plan import Step
from dagcelery.skipped import Skipped
from dagcelery.store.records import CLOSE, ROOT, Counts, Event, PieceId, Scope, Spot, scope_id, worker_of
from dagcelery.text import HIDDEN, brief

_PAGE: Final = 1_000


class RunNode:
    """A node of a run, or an item of one, by its address: ``run.node("one_file[117]/read")``. Making one does no I/O.

    Each method raises RunNotFound, and InvalidParameters where the DAG has no such node or item.
    """

    def __init__(self, control: Callable[[], RunControl], run_id: str, address: str) -> None:
        self.run_id = run_id
        self.address = address
        self._control = control

    def result(self) -> Any:
        """Return what it gave back, as it is now: of a fan-out the list of its items' results.

        A list of more than 1,000 is lazy: elements are read as they are asked for. Items that were left out are
        `Skipped` in it.

        Raises NodeNotDone; NodeFailed; NodeSkipped; ValueFreed where it was freed (``keep="outputs"``), or was never
        stored, because nothing reads it, or reads some of its parts only.
        """
        return Look(self._control(), self.run_id, self.address).result()

    async def aresult(self) -> Any:
        """`result` without blocking the event loop."""
        return await asyncio.to_thread(self.result)

    def status(self) -> TreeNode:
        """Return how far it is, with worker, attempt and times as far as they are known; `name` is its address."""
        return Look(self._control(), self.run_id, self.address).status()

    async def astatus(self) -> TreeNode:
        """`status` without blocking the event loop."""
        return await asyncio.to_thread(self.status)

    @property
    def state(self) -> str:
        """One word for it: waiting, running, done, failed, ..."""
        return self.status().state

    def errors(self) -> list[Failure]:
        """Return its attempts that failed, and those of what it consists of, as `Run.errors` does."""
        return Look(self._control(), self.run_id, self.address).errors()

    async def aerrors(self) -> list[Failure]:
        """`errors` without blocking the event loop."""
        return await asyncio.to_thread(self.errors)

    def logs(self) -> list[PieceLog]:
        """Return the last lines of each attempt that it logged, and what it consists of, as `Run.logs` does."""
        return Look(self._control(), self.run_id, self.address).logs()

    async def alogs(self) -> list[PieceLog]:
        """`logs` without blocking the event loop."""
        return await asyncio.to_thread(self.logs)

    def log(self) -> list[str]:
        """Return these lines, of all attempts and pieces, the oldest first."""
        return [line for each in self.logs() for line in each.lines]

    async def alog(self) -> list[str]:
        """`log` without blocking the event loop."""
        return await asyncio.to_thread(self.log)

    def __repr__(self) -> str:
        return f"RunNode({self.run_id!r}, {self.address!r})"


class Look:
    """A look at one place, which may be in a run that goes on; at one moment, whatever is asked of it."""

    def __init__(self, control: RunControl, run_id: str, address: str) -> None:
        self._control = control
        progress = control.store.reader.progress(run_id, counted=False)
        if progress is None:
            raise RunNotFound(run_id)
        self._record, self.view = progress.record, control.view(run_id)
        self._under_way = alive(control, progress.outstanding, progress.now)
        self._address = address
        self._done: dict[tuple[str, int], Collection[int]] = {}
        self.view.look(self._record.epoch)
        self.view.enter(self.view.generation)  # lists that were cleared may have other lengths now

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self._record.is_over

    def found(self) -> tuple[Spot, Step]:
        """Return the place, and the step that it belongs to. Raises InvalidParameters."""
        spot = find_place(self.view, self._address)
        return spot, self.view.body(spot.scope).steps[spot.step]

    # -- how far it is ----------------------------------------------------------------------------
    def status(self) -> TreeNode:
        """Return the place as a node of the tree."""
        try:
            spot, step = self.found()
        except BranchNotTaken:
            return TreeNode(self._address, "skipped", 1, skipped=1)
        except NotThere:
            return TreeNode(self._address, "stopped" if self._record.is_over else "waiting", None)
        return self._status(spot, step)

    def _status(self, spot: Spot, step: Step, *, is_told: bool = True) -> TreeNode:
        """Say how far a place is; an item without worker and times, which cost the run's events, if not `is_told`."""
        view, reader = self.view, self._control.store.reader
        counts = reader.within(view.run_id, {spot.scope: [spot.step]}).get(spot.scope, {}).get(spot.step, Counts(-1))
        activity = activities(view, self._under_way, is_over=self._record.is_over)[spot.scope, spot.step]
        if spot.lo >= 0:
            node = self._item(spot, step, counts, activity.items)
            return self._timed(node, spot) if is_told else node
        others = activity.beside(counts)
        total = 1 if step.over is None else counts.total if counts.total >= 0 else None
        begun = counts.is_begun and counts.total >= 0
        state = self._word(total, counts.done, counts.skipped, others, begun)
        pieces = running_pieces(view, self._under_way.claimed)[spot.scope, spot.step]
        node = TreeNode(self._address, state, total, counts.done, skipped=counts.skipped)
        node = _with(node, others)
        worker, attempt, started = worker_of(counts.owner), counts.attempt, counts.started
        if step.over is None and pieces:
            worker, attempt, started = pieces[0].worker, pieces[0].attempt, pieces[0].started
        times = replace(node, started=started or None, ended=counts.ended or None)
        return replace(times, worker=worker, attempt=attempt, pieces=pieces)

    def _word(self, total: int | None, done: int, skipped: int, others: Mapping[str, int], begun: bool) -> str:
        running, retrying, failed = (others[word] for word in WORDS)
        going_on = {"running": running, "retrying": retrying, "failed": failed}
        return state_of(total, done, skipped, **going_on, is_begun=begun, is_over=self._record.is_over)

    def _item(self, spot: Spot, step: Step, counts: Counts, inner: Mapping[int, str]) -> TreeNode:
        """Say how far one item of a fan-out is, or several."""
        under_way = self._under_way
        words = self._item_words(spot, step, counts, inner)
        number = Counter(words.values())
        others = {word: number[word] for word in WORDS}
        begun = len(words) > number["waiting"]
        state = self._word(len(words), number["done"], number["skipped"], others, begun)
        if number["skipped"] == len(words):
            state = "skipped"
        pieces = tuple(
            piece
            for each in under_way.claimed
            if (each.scope, each.step) == (spot.scope, spot.step) and each.lo < spot.hi and spot.lo < each.hi
            for piece in running_pieces(self.view, [each])[spot.scope, spot.step]
        )
        node = TreeNode(self._address, state, len(words), number["done"], skipped=number["skipped"])
        node = _with(node, others)
        if pieces:
            piece = pieces[0]
            return replace(node, worker=piece.worker, attempt=piece.attempt, started=piece.started, pieces=pieces)
        return node

    def words(self, spot: Spot, step: Step) -> dict[int, str]:
        """Return the state of each of some items."""
        view, reader = self.view, self._control.store.reader
        counts = reader.within(view.run_id, {spot.scope: [spot.step]}).get(spot.scope, {}).get(spot.step, Counts(-1))
        activity = activities(view, self._under_way, is_over=self._record.is_over)[spot.scope, spot.step]
        words = self._item_words(spot, step, counts, activity.items)
        if self._record.is_over:
            cut_off = ("waiting", "running", "retrying")
            return {index: "stopped" if word in cut_off else word for index, word in words.items()}
        return words

    def _item_words(self, spot: Spot, step: Step, counts: Counts, inner: Mapping[int, str]) -> dict[int, str]:
        words = self._ended(spot, step, counts.done + counts.skipped >= counts.total)
        urgent = self._urgent(spot, inner)
        return {index: urgent.get(index, word) for index, word in words.items()}

    def urgent(self, spot: Spot) -> dict[int, str]:
        """Return the items of a fan-out that run, are to be tried again or have failed, as far as they are told."""
        inner = activities(self.view, self._under_way, is_over=self._record.is_over)[spot.scope, spot.step].items
        return self._urgent(spot, inner)

    def _urgent(self, spot: Spot, inner: Mapping[int, str]) -> dict[int, str]:
        under_way, words = self._under_way, dict(inner)
        for word, spots in (
            ("running", under_way.claimed),
            ("retrying", under_way.retrying),
            ("failed", under_way.failed),
        ):
            here = (each for each in spots if (each.scope, each.step) == (spot.scope, spot.step))
            lows = ((max(each.lo, spot.lo, 0), max(each.hi, each.lo + 1)) for each in here)
            words |= {index: word for lo, hi in lows for index in range(lo, hi if spot.hi < 0 else min(hi, spot.hi))}
        return words

    def _timed(self, node: TreeNode, spot: Spot) -> TreeNode:
        """Say of an item that is not being executed who has done so last, and when, as far as that is kept."""
        if node.pieces or node.total != 1 or node.state in ("waiting", "stopped"):
            return node
        last = self._told(spot).get(spot.lo)
        if last is None:
            return node
        ended = last.started + last.seconds
        return replace(node, worker=worker_of(last.owner), attempt=last.attempt, started=last.started, ended=ended)

    def _ended(self, spot: Spot, step: Step, is_complete: bool) -> dict[int, str]:
        """Say of each item whether it is done, was skipped, or is still to be done.

        What is stored or was told of an item may be from before it was cleared, or from an attempt that was lost.
        """
        items = range(spot.lo, spot.hi)
        if step.kind == "dag" and not is_complete:
            return self._closed(spot)
        if step.outputs:
            words = self._stored(spot, step)
        else:
            told = {} if is_complete else self._told(spot)
            words = {index: event.kind for index, event in told.items() if event.kind in ("done", "skipped")}
        if is_complete:
            return {index: words.get(index, "done") for index in items}
        done = self._all_done(spot) if words else ()
        return {index: words.get(index, "waiting") if index in done else "waiting" for index in items}

    def _closed(self, spot: Spot) -> dict[int, str]:
        """Say which items of a mapped DAG have handed their outputs over: only these are looked at, not all scopes."""
        run_id = self.view.run_id
        scopes = {scope_id(run_id, spot.scope, spot.step, index): index for index in range(spot.lo, spot.hi)}
        within = self._control.store.reader.within(run_id, dict.fromkeys(scopes, (0,)))
        closes = {index: within[name][CLOSE] if name in within else Counts() for name, index in scopes.items()}
        return {
            index: "skipped" if close.skipped else "done" if close.done else "waiting"
            for index, close in closes.items()
        }

    def _all_done(self, spot: Spot) -> Collection[int]:
        """Return the items of a fan-out that are done; it costs a look at what is outstanding, and is asked once."""
        place = spot.scope, spot.step
        if place not in self._done:
            self._done[place] = self._control.store.reader.done(self.view.run_id, *place)
        return self._done[place]

    def _stored(self, spot: Spot, step: Step) -> dict[int, str]:
        """Return which items have a result, or a marker in its place."""
        blocks = self._control.store.reader.blocks(self.view.run_id, spot.scope, f"{spot.step}.0", spot.lo, spot.hi)
        return {
            index: "skipped" if values.is_skipped(block.data) else "done"
            for block in sorted(blocks, key=lambda block: block.attempt)
            for index in range(block.lo, block.hi)
            if spot.lo <= index < spot.hi
        }

    def _told(self, spot: Spot) -> dict[int, Event]:
        """Return the last event of each item, of those that are kept."""
        last: dict[int, Event] = {}
        for event in self.events:
            if event.piece.startswith(f"{spot.scope}/{spot.step}/"):
                lo = PieceId.parse(event.piece).lo
                last |= dict.fromkeys(range(max(lo, spot.lo), min(event.hi, spot.hi)), event)
        return last

    @cached_property
    def events(self) -> Sequence[Event]:
        """What is kept of the run's events, oldest first."""
        reader = self._control.store.reader
        page = found = list(reader.events(self.view.run_id, "", _PAGE))
        while len(page) >= _PAGE:
            page = list(reader.events(self.view.run_id, page[-1].id, _PAGE))
            found += page
        return found

    # -- its result -------------------------------------------------------------------------------
    def result(self) -> Any:
        """Return what the place gave back.

        Raises NodeNotDone, NodeFailed, NodeSkipped, ValueFreed.
        """
        try:
            spot, step = self.found()
        except BranchNotTaken as error:
            raise NodeSkipped(f"node {self._address} was skipped", "its branch was not taken") from error
        except NotThere as error:
            state = "stopped" if self._record.is_over else "waiting"
            raise NodeNotDone(self._address, state, self._record.is_over) from error
        state = self._status(spot, step, is_told=False).state
        if state == "failed":
            raise self._failure(spot)
        if state not in ("done", "skipped"):
            raise NodeNotDone(self._address, state, self._record.is_over)
        try:
            value = self._value(spot, step)
        except DeserializationError as error:
            if state != "skipped":
                raise
            raise NodeSkipped(f"node {self._address} was skipped", "an item that it lies in was left out") from error
        if type(value) is Skipped:
            problem = f"{value.address} failed with {value.type_name}: {value.message}"
            raise NodeSkipped(f"node {self._address} was skipped", problem)
        return value

    def _value(self, spot: Spot, step: Step) -> Any:
        if not step.outputs:
            problem = "was never stored, because nothing in its DAG reads it"
            raise ValueFreed(f"the result of node {self._address}", problem, "return it from the DAG")
        shape = self.view.program.body(step.target).returns if step.kind == "dag" else None
        whole = next((at for at, out in enumerate(step.outputs) if _is_whole(step, at)), None)
        if shape is None and whole is not None:
            return self._output(spot, step, whole)
        if step.kind != "dag":
            raise only_parts(self._address, [path_text(output.path) for output in step.outputs])
        return Shaped(self.view, spot, step, self._address).value()

    def _output(self, spot: Spot, step: Step, at: int) -> Any:
        view, token = self.view, f"{spot.step}.{at}"
        reader = Reader(view, view.scope(spot.scope))
        is_branch = "branch" in step.options
        if spot.lo >= 0 or is_branch:
            lo, hi = (0, 1) if is_branch else (spot.lo, spot.hi)
            items = reader.column(token, lo, hi)
            return items[0] if hi == lo + 1 else items
        over = view.list_over(spot.scope, token)
        lazy = over is not None and view.count(spot.scope, over) > LISTED
        return reader.evaluate(("ref", token), lazy=lazy)

    def _failure(self, spot: Spot) -> NodeFailed | NodeNotDone:
        """Return the first failure in this place."""
        for failed in self._under_way.failed:
            piece = PieceId(failed.scope, failed.step, failed.lo)
            if not self._is_within(piece, spot):
                continue
            error = following.node_failed(self.view, piece.name)
            if error is not None:
                return error
        return NodeNotDone(self._address, "failed", self._record.is_over)

    def errors(self, most: int | None = None) -> list[Failure]:
        """Return the attempts that failed in this place, of those of the run that are looked at."""
        try:
            spot, _ = self.found()
        except NotThere:
            return []
        return following.errors(self._control, self.view.run_id, lambda piece: self._is_within(piece, spot), most)

    def logs(self) -> list[PieceLog]:
        """Return what this place logged last."""
        try:
            spot, _ = self.found()
        except NotThere:
            return []
        return logs(self._control, self.view.run_id, lambda piece: self._is_within(piece, spot))

    def _is_within(self, piece: PieceId, place: Spot) -> bool:
        """Return whether a piece belongs to a place, in a scope however deep below it."""
        scope, step, lo = piece
        try:
            while (scope, step) != place[:2] and scope != ROOT:
                around: Scope = self.view.scope(scope)
                scope, step, lo = around.parent, around.step, around.index
        except BadSignature:  # it was taken back meanwhile
            return False
        return (scope, step) == place[:2] and (place.lo < 0 or place.lo <= lo < place.hi)


def _with(node: TreeNode, counts: Mapping[str, int]) -> TreeNode:
    return replace(node, running=counts["running"], retrying=counts["retrying"], failed=counts["failed"])


def _is_whole(step: Step, at: int) -> bool:
    """Return whether an output is all that a step gives back."""
    output = step.outputs[at]
    return not output.path and (step.kind != "dag" or output.name == "return_value")


# -- parameters -----------------------------------------------------------------------------------
class Parameters(dict[str, Any]):
    """The parameters of a run by name. They are shown as a status shows them, without what is sensitive."""

    def __init__(self, values: Mapping[str, Any], sensitive: frozenset[str]) -> None:
        super().__init__(values)
        self._sensitive = sensitive

    def __repr__(self) -> str:
        texts = (f"{name!r}: {HIDDEN if name in self._sensitive else brief(value)}" for name, value in self.items())
        return f"{{{', '.join(texts)}}}"

    def __reduce__(self) -> tuple[type[Parameters], tuple[dict[str, Any], frozenset[str]]]:
        return Parameters, (dict(self), self._sensitive)


def parameters(view: RunView) -> Parameters:
    """Return the parameters of a run that are stored: those that something reads, with their defaults."""
    reader, plan = Reader(view, Scope(ROOT)), view.program.plan
    stored = {
        param.name: reader.whole(f"${param.name}") if param.whole else reader.elements(f"${param.name}", most=LISTED)
        for param in plan.bodies[0].params
        if param.whole or param.split
    }
    return Parameters(stored, frozenset(plan.options.get("sensitive", ())))
