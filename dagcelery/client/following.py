"""A run is followed to its end: its events as they happen, then what it gave back, and the errors of its pieces.

Events are a stream that can be left and taken up again at any position. A process that waits for the end also ends a
run that is past its deadline: perhaps no worker is there to do it.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable, Container, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from dagcelery.client.places import address_of
from dagcelery.client.status import RunStatus, first_reasons, run_status
from dagcelery.engine.io import Reader
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView, prefixes
from dagcelery.errors import (
    BadSignature,
    DagceleryError,
    InvalidParameters,
    NodeFailed,
    ResultTimeout,
    RunCancelled,
    RunNotFound,
    RunTimedOut,
)
from dagcelery.payload import addresses, failures, values
from dagcelery.store.records import ROOT, TERMINAL, Event, Lost, PieceId, RunState, Scope, Spot, worker_of
from dagcelery.text import shown

# -- its end --------------------------------------------------------------------------------------
GLANCE_SECONDS = 5.0
"""How often a process that waits looks whether the deadline has passed."""


class Patience:
    """How long to wait for a run, in portions of `seconds` after which its deadline is looked at."""

    def __init__(self, control: RunControl, run_id: str, timeout: float | None = None) -> None:
        self._control = control
        self._run_id = run_id
        self._until = time.monotonic() + (threading.TIMEOUT_MAX if timeout is None else timeout)

    @property
    def seconds(self) -> float:
        """How long the next portion is."""
        return max(0.0, min(self._until - time.monotonic(), GLANCE_SECONDS))

    def is_over(self, state: str) -> bool:
        """Whether to wait no longer for a run in this state; end a run that is past its deadline.

        Raises RunNotFound.
        """
        if state == "gone":
            raise RunNotFound(self._run_id)
        if state in TERMINAL or time.monotonic() >= self._until:
            return True
        end_if_late(self._control, self._run_id)
        return False


def end_if_late(control: RunControl, run_id: str) -> None:
    """End a run that is past its deadline."""
    record = control.store.reader.record(run_id)
    if record is not None and record.deadline and not record.is_over:
        settings = control.settings
        swept = control.store.machine.sweep(run_id, Lost(), settings.dead_seconds, settings.max_deaths)
        if swept.lasted is not None:
            control.tell_end(run_id, swept.run, swept.lasted)


def wait_for_end(control: RunControl, run_id: str, timeout: float | None) -> RunState:
    """Wait up to `timeout` seconds (None: for ever) until a run is over; return its state then.

    Raises RunNotFound.
    """
    patience = Patience(control, run_id, timeout)
    with control.store.reader.listening(run_id) as listen:
        while not patience.is_over(state := listen(patience.seconds)):
            pass
    return RunState(state)


async def await_end(control: RunControl, run_id: str, timeout: float | None) -> RunState:
    """Do the same as `wait_for_end`, without a thread while it waits."""
    patience = Patience(control, run_id, timeout)
    async with control.store.reader.alistening(run_id) as listen:
        while not await asyncio.to_thread(patience.is_over, state := await listen(patience.seconds)):
            pass
    return RunState(state)


def result(control: RunControl, run_id: str, timeout: float | None) -> Any:
    """Wait for the end of a run, and return or raise what came of it."""
    return outcome(control, run_id, wait_for_end(control, run_id, timeout), timeout)


def outcome(
    control: RunControl, run_id: str, state: RunState, timeout: float | None = None, cause: BaseException | None = None
) -> Any:
    """Return or raise what came of a run that is in this state, after having waited for `timeout` seconds.

    `cause` is the error that failed it, where it ran in this process.
    """
    match state:
        case RunState.DONE:
            return _returned(control.view(run_id))
        case RunState.FAILED:
            raise _failure(control, run_id) from cause
        case RunState.CANCELLED:
            raise RunCancelled(run_id, control.record(run_id).reason)
        case RunState.TIMED_OUT:
            raise RunTimedOut(run_id, control.record(run_id).reason)
        case _:
            raise _timeout(control, run_id, timeout or 0.0)


def _timeout(control: RunControl, run_id: str, seconds: float) -> ResultTimeout:
    """Return the error of a run that was waited for in vain, which says why; that costs one status.

    Raises RunNotFound.
    """
    try:
        status = run_status(control, run_id)
    except RunNotFound:
        raise
    except DagceleryError:  # a process that cannot read the run may still wait for it
        return ResultTimeout(run_id, seconds)
    return ResultTimeout(run_id, seconds, str(status.state), first_reasons(status))


def _returned(view: RunView) -> Any:
    """Return the value that the body returned, or outputs by name."""
    view.enter(view.generation)  # this process may have read results of it before it was cleared
    body, reader = view.program.body(0), Reader(view, Scope(ROOT))
    if body.returns is not None:
        reader.read_ahead([body.returns])
        return reader.evaluate(body.returns)
    outputs = {name: reader.evaluate(expr) for name, expr, _ in body.outputs}
    if not outputs:
        return None
    return outputs["return_value"] if list(outputs) == ["return_value"] else outputs


def _failure(control: RunControl, run_id: str) -> NodeFailed:
    """Return the error that failed a run."""
    record, view = control.record(run_id), control.view(run_id)
    view.look(record.epoch)
    error = node_failed(view, record.failed)
    if error is None:
        raise RunNotFound(run_id)
    return error


def node_failed(view: RunView, piece: str) -> NodeFailed | None:
    """Return the error of a piece that has finally failed, verified; no class is imported because data names it."""
    described = view.failure(piece)
    return None if described is None else failures.as_error(view.piece_address(piece), described)


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that failed: `stands` if nothing was tried after it. `traceback` is the remote one, as text."""

    address: str
    attempt: int
    type_name: str
    message: str
    traceback: str
    stands: bool


def errors(
    control: RunControl,
    run_id: str,
    is_wanted: Callable[[PieceId], bool] = lambda piece: True,
    most: int | None = None,
) -> list[Failure]:
    """Return every attempt that failed, as far as they are kept, repeated ones too; oldest attempts first.

    Only those of pieces that are wanted. No more than `most` are looked at, the one that failed the run among them.
    """
    record, view = control.record(run_id), control.view(run_id)
    view.look(record.epoch)
    stored = dict(control.store.reader.failures(run_id, most))
    if record.failed and record.failed not in stored:
        first = control.store.reader.failure(run_id, record.failed)
        stored |= {} if first is None else {record.failed: first}
    kept = (_attempt(view, name, data) for name, data in stored.items() if is_wanted(PieceId.parse(name)))
    return sorted(kept, key=lambda failure: (failure.address, failure.attempt))


def _attempt(view: RunView, name: str, stored: bytes) -> Failure:
    piece = PieceId.parse(name).name
    attempt, body = values.open_bytes(view.keyring, addresses.failure(view.run_id, piece), stored)
    error = failures.decode(bytes(body))
    try:
        address = view.piece_address(piece)
    except (BadSignature, IndexError):  # its scope was cleared, and there may be another graph now
        address = "(taken back)"
    return Failure(address, attempt, error["type"], error["message"], error["traceback"], "@" not in name)


# -- its events -----------------------------------------------------------------------------------
_PAGE = 500

_STARTS_SECONDS = 0.5
"""How often is looked for pieces that have been started, which wake no listener."""

_POSITION = re.compile(r"[0-9]{1,20}-[0-9]{1,20}|")

_MOST = 2**64
"""What stands on either side of a position is less."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """A change of a piece, or of a run.

    `kind` is "done", "failed", "retried" or "skipped" of a piece, and "started" if that is asked for; "created",
    "resumed" or "ended" of the run, whose state at its end is `state`; or "missed" where so much has happened since
    that it is not kept any more. `node` is a name as `status()` has it, and `address` tells the item as well:
    ``square[3]``, or ``square[100:356]`` where one event stands for `items` of a long list. `at` is when it was
    remembered, in seconds since the epoch; `events(after=position)` goes on behind it. A piece was `started` at that
    time, and took `seconds`; `worker` says which process executed it: ``celery@host pid 123``.
    """

    position: str
    kind: str
    at: float
    node: str = ""
    address: str = ""
    items: int = 0
    attempt: int = 0
    started: float = 0.0
    seconds: float = 0.0
    state: str = ""
    worker: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return asdict(self)


def _is_position(text: str) -> bool:
    return bool(_POSITION.fullmatch(text)) and all(int(number) < _MOST for number in text.split("-") if number)


class Feed:
    """Reads a run's events page by page, from a position on. `is_over` once the run is, and all was read.

    The store tells nothing of a start, which would cost every piece of every run. Where `starts` are wanted, they are
    made of what is claimed when a page is read, and in front of an end whose start was not seen; of tasks only, since
    items of a mapped DAG and branches are opened several at once, the branches that are not taken as well.
    """

    def __init__(self, control: RunControl, run_id: str, after: str, *, starts: bool = False) -> None:
        if not isinstance(after, str) or not _is_position(after):
            raise InvalidParameters(
                f"after={shown(after)}", "is not a position", "give the `position` of an event, or '' for all"
            )
        self.position = after
        self.is_over = False
        self._control = control
        self._run_id = run_id
        self._prefixes: dict[int, str] = {}
        self._gone: set[tuple[str, int]] = set()
        self._starts = starts
        self._started: dict[tuple[str, int, int], int] = {}
        self.most_seconds = _STARTS_SECONDS if starts else GLANCE_SECONDS

    def page(self) -> list[RunEvent]:
        """Return the next events, perhaps none.

        Raises RunNotFound.
        """
        # The record first: what is written after it was read is on the next page at the latest.
        record = self._control.record(self._run_id)
        # What is claimed comes before, too: what ends in between is on this page, behind its start.
        claimed = self._claimed() if self._starts else ()
        page = self._control.store.reader.events(self._run_id, self.position, _PAGE)
        self.is_over = record.is_over and not page
        events, ended = list[RunEvent](), set[tuple[str, int, int]]()
        for event in page:
            run_event = self.run_event(event)
            if self._starts and event.piece and self._is_unseen(event, ended):
                at = self.position or "0-0"
                events.append(replace(run_event, position=at, kind="started", at=run_event.started, seconds=0.0))
            self.position = event.id
            events.append(run_event)
        if len(page) < _PAGE:  # what runs now has been started after what is on other pages
            events += [self._started_event(spot) for spot in claimed if self._is_news(spot, ended)]
        return events

    def _claimed(self) -> list[Spot]:
        """Return what is executed: the end of what is committed is told already, on an earlier page perhaps."""
        claimed = self._control.store.reader.outstanding(self._run_id).claimed
        return [spot for spot in claimed if not spot.is_committed]

    def _is_news(self, spot: Spot, ended: Container[tuple[str, int, int]]) -> bool:
        """Return whether a piece that has not `ended` was started since the last page, and note that."""
        pieces = [(spot.scope, spot.step, index) for index in range(spot.lo, max(spot.hi, spot.lo + 1))]
        if spot.step < 0 or not self._is_executed(self._body(spot.scope), spot.step):
            return False
        if all(piece in ended or self._started.get(piece) == spot.attempt for piece in pieces):
            return False
        self._started |= dict.fromkeys(pieces, spot.attempt)
        return True

    def _is_unseen(self, event: Event, ended: set[tuple[str, int, int]]) -> bool:
        """Return whether the start of a piece that has ended was not told; note that it has `ended`.

        An item of a mapped DAG ends with the piece that closes it, of which alone the time is known.
        """
        scope, step, lo = PieceId.parse(event.piece)
        pieces = [(scope, step, index) for index in range(lo, max(event.hi, lo + 1))]
        ended.update(pieces)
        seen = [piece for piece in pieces if self._started.pop(piece, None) is not None]
        return not seen and self._is_executed(event.body, step)

    def _is_executed(self, body: int, step: int) -> bool:
        """Return whether a process executes something where a step is claimed: items and branches are merely opened."""
        program = self._control.view(self._run_id).program
        return not (program.knows(body) and program.step(body, step).kind == "dag")

    def _body(self, scope: str) -> int:
        try:
            return self._control.view(self._run_id).scope(scope).body
        except BadSignature:  # it was taken back meanwhile
            return 0

    def _started_event(self, spot: Spot) -> RunEvent:
        piece = PieceId(spot.scope, spot.step, spot.lo).name
        body = self._body(spot.scope)
        event = Event(self.position or "0-0", "started", piece, body, spot.hi, spot.attempt, spot.at, 0.0, spot.owner)
        return replace(self.run_event(event), at=spot.at)

    def run_event(self, event: Event) -> RunEvent:
        """Return an event as people are told of it."""
        at = int(event.id.partition("-")[0]) / 1000 or event.started
        if not event.piece:
            if event.kind in TERMINAL:
                return RunEvent(event.id, "ended", event.started or at, state=event.kind)
            return RunEvent(event.id, event.kind, event.started or at)
        scope, step, lo = PieceId.parse(event.piece)
        view = self._control.view(self._run_id)
        place = self._place(view, scope, event.body)  # with it a plan is read that was made while the run goes on
        node = self.node_name(view, event.body, step) if place or view.is_planned(event.body) else "(taken back)"
        address = address_of(view, place, step, lo, event.hi) if place else node
        items = max(0, event.hi - lo) if lo >= 0 else 1
        ended = RunEvent(event.id, event.kind, at, node, address, items, event.attempt, event.started, event.seconds)
        return replace(ended, worker=worker_of(event.owner))

    def _place(self, view: RunView, scope: str, body: int) -> Scope | None:
        """Return the scope where something happened; None if it was cleared, whatever has its name now."""
        if (scope, body) in self._gone:
            return None
        for _ in range(2):
            try:
                place = view.scope(scope)
            except BadSignature:
                break
            if place.body == body:
                return place
            view.enter(view.generation)  # what this process knows of it may be from before it was cleared
        self._gone.add((scope, body))
        return None

    def node_name(self, view: RunView, body: int, step: int) -> str:
        """Return a node's name as `status()` has it."""
        if body not in self._prefixes:
            plan, number = view.program.home(body) or (view.program.plan, body)
            owner = None if view.is_planned(body) else view.scope_of(body - number)
            path = view.path(view.scope(owner)) if owner else ""
            self._prefixes |= {body - number + inner: path + told for inner, told in prefixes(plan).items()}
        return self._prefixes.get(body, "") + view.program.node_name(body, step)


def events(control: RunControl, run_id: str, after: str, *, follow: bool, started: bool = False) -> Iterator[RunEvent]:
    """Yield what has happened since `after` and, if it shall `follow`, what happens until the run is over."""
    feed, patience = Feed(control, run_id, after, starts=started), Patience(control, run_id)
    with control.store.reader.listening(run_id) as listen:
        while True:
            yield from (page := feed.page())
            if feed.is_over or not (page or follow):
                return
            if not page:
                patience.is_over(listen(min(patience.seconds, feed.most_seconds), feed.position))


async def aevents(
    control: RunControl, run_id: str, after: str, *, follow: bool, started: bool = False
) -> AsyncGenerator[RunEvent, None]:
    """`events` without blocking the event loop; while it waits it takes no thread."""
    feed, patience = Feed(control, run_id, after, starts=started), Patience(control, run_id)
    async with control.store.reader.alistening(run_id) as listen:
        while True:
            for event in (page := await asyncio.to_thread(feed.page)):
                yield event
            if feed.is_over or not (page or follow):
                return
            if not page:
                seconds = min(patience.seconds, feed.most_seconds)
                await asyncio.to_thread(patience.is_over, await listen(seconds, feed.position))


# -- its status, again and again ------------------------------------------------------------------
_QUIET_SECONDS = (1.0, 4.0)
"""How soon a run is looked at again of which nothing is heard, at first and in the end: a start wakes no listener."""

_SHARE = 10
"""How many times as long as a look takes is left between two looks."""


async def statuses(control: RunControl, run_id: str, least_seconds: float = 0.5) -> AsyncGenerator[RunStatus, None]:
    """Yield the status of a run now, and whenever it may have changed, until the run is over.

    However much happens, it is counted once in `least_seconds`, and more rarely where counting takes its time.
    """
    quiet, last, (first, most) = 0.0, None, _QUIET_SECONDS
    async with control.store.reader.alistening(run_id) as listen:
        while True:
            began = time.monotonic()
            # The position first: what happens after it was read wakes the listener.
            position = await asyncio.to_thread(control.store.reader.last_event, run_id)
            status = await asyncio.to_thread(run_status, control, run_id)
            if status.state.is_end:
                yield status
                return
            quiet = min(most, 2 * quiet) if status == last else first
            if status != last:
                yield status
            last = status
            await asyncio.sleep(max(least_seconds, _SHARE * (time.monotonic() - began)))
            await listen(quiet, position)
            await asyncio.to_thread(end_if_late, control, run_id)
