"""What happens in a run, event by event: a stream that can be left and taken up again at any position."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from dagcelery.client.results import Patience
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView, prefixes
from dagcelery.errors import BadSignature, InvalidParameters
from dagcelery.store.records import TERMINAL, Event, PieceId, Scope
from dagcelery.text import shown

_PAGE = 500

_POSITION = re.compile(r"[0-9]{1,20}-[0-9]{1,20}|")

_MOST = 2**64
"""What stands on either side of a position is less."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """A change of a piece, or of a run.

    `kind` is "done", "failed", "retried" or "skipped" of a piece; "created", "resumed" or "ended" of the run, whose
    state at its end is `state`; or "missed" where so much has happened since that it is not kept any more. `node` is a
    name as `status()` has it, and `address` tells the item as well: ``square[3]``, or ``square[100:356]`` where one
    event stands for `items` of a long list. `at` is when it was remembered, in seconds since the epoch;
    `events(after=position)` goes on behind it.
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

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return asdict(self)


def _is_position(text: str) -> bool:
    return bool(_POSITION.fullmatch(text)) and all(int(number) < _MOST for number in text.split("-") if number)


class Feed:
    """Reads a run's events page by page, from a position on. `is_over` once the run is, and all was read."""

    def __init__(self, control: RunControl, run_id: str, after: str) -> None:
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

    def page(self) -> list[RunEvent]:
        """Return the next events, perhaps none.

        Raises RunNotFound.
        """
        # The record first: what is written after it was read is on the next page at the latest.
        record = self._control.record(self._run_id)
        page = self._control.store.reader.events(self._run_id, self.position, _PAGE)
        self.is_over = record.is_over and not page
        if page:
            self.position = page[-1].id
        return [self._run_event(event) for event in page]

    def _run_event(self, event: Event) -> RunEvent:
        at = int(event.id.partition("-")[0]) / 1000 or event.started
        if not event.piece:
            if event.kind in TERMINAL:
                return RunEvent(event.id, "ended", event.started or at, state=event.kind)
            return RunEvent(event.id, event.kind, event.started or at)
        scope, step, lo = PieceId.parse(event.piece)
        view = self._control.view(self._run_id)
        place = self._place(view, scope, event.body)  # with it a plan is read that was made while the run goes on
        node = self._name(view, event.body, step) if place or view.is_planned(event.body) else "(taken back)"
        address = view.address(place, step, lo) if place else node
        items = max(0, event.hi - lo) if lo >= 0 else 1
        if items > 1:
            address = f"{address.removesuffix(']')}:{event.hi}]"
        return RunEvent(event.id, event.kind, at, node, address, items, event.attempt, event.started, event.seconds)

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

    def _name(self, view: RunView, body: int, step: int) -> str:
        """Return a node's name as `status()` has it."""
        if body not in self._prefixes:
            plan, number = view.program.home(body) or (view.program.plan, body)
            owner = None if view.is_planned(body) else view.scope_of(body - number)
            path = view.path(view.scope(owner)) if owner else ""
            self._prefixes |= {body - number + inner: path + told for inner, told in prefixes(plan).items()}
        return self._prefixes.get(body, "") + view.program.node_name(body, step)


def events(control: RunControl, run_id: str, after: str, *, follow: bool) -> Iterator[RunEvent]:
    """Yield what has happened since `after` and, if it shall `follow`, what happens until the run is over."""
    feed, patience = Feed(control, run_id, after), Patience(control, run_id)
    with control.store.reader.listening(run_id) as listen:
        while True:
            yield from (page := feed.page())
            if feed.is_over or not (page or follow):
                return
            if not page:
                patience.is_over(listen(patience.seconds, feed.position))


async def aevents(control: RunControl, run_id: str, after: str, *, follow: bool) -> AsyncGenerator[RunEvent, None]:
    """`events` without blocking the event loop; while it waits it takes no thread."""
    feed, patience = Feed(control, run_id, after), Patience(control, run_id)
    async with control.store.reader.alistening(run_id) as listen:
        while True:
            for event in (page := await asyncio.to_thread(feed.page)):
                yield event
            if feed.is_over or not (page or follow):
                return
            if not page:
                await asyncio.to_thread(patience.is_over, await listen(patience.seconds, feed.position))
