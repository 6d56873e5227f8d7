"""A run as it is watched: how far it is, what happens in it, when it is over; and which runs there are.

What begins with an ``a`` does the same without blocking the event loop.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagcelery.errors import InvalidParameters, NotConfigured
from dagcelery.model.policies import is_number
from dagcelery.runtime import events, lifecycle, results, waiting
from dagcelery.runtime.engine import Engine
from dagcelery.runtime.events import RunEvent
from dagcelery.runtime.lifecycle import Failure
from dagcelery.runtime.pieces import is_executing
from dagcelery.runtime.results import RunState, RunStatus
from dagcelery.runtime.tree import TreeNode, tree
from dagcelery.store.protocol import Store
from dagcelery.store.records import RunRecord
from dagcelery.text import shown

if TYPE_CHECKING:
    from dagcelery.client.clients import Client, Run

_PORTION = 200
_SURROGATE = re.compile("[\ud800-\udfff]")


class Watched:
    """The part of a `Run` that changes nothing."""

    id: str

    @property
    def _engine(self) -> Engine:
        raise NotImplementedError

    @property
    def state(self) -> RunState:
        """What the run is at this moment. Raises RunNotFound."""
        return results.state(self._engine.store, self.id)

    def status(self) -> RunStatus:
        """How far every node is: counts, times, queues, and why it waits. Raises RunNotFound."""
        return results.status(self._engine, self.id)

    async def astatus(self) -> RunStatus:
        """`status` without blocking the event loop."""
        return await asyncio.to_thread(self.status)

    def wait(self, timeout: float | None = None) -> RunState:
        """Wait up to `timeout` seconds (None: for ever) until the run is over; answers its state then, over or not.

        Raises RunNotFound.
        """
        _refuse_in_tasks("wait()")
        check_timeout(timeout)
        return RunState(waiting.wait(self._engine, self.id, timeout))

    async def await_(self, timeout: float | None = None) -> RunState:
        """`wait` without blocking the event loop."""
        _refuse_in_tasks("await_()")
        check_timeout(timeout)
        return RunState(await waiting.await_end(self._engine, self.id, timeout))

    def events(self, after: str = "", *, follow: bool = True) -> Iterator[RunEvent]:
        """Yield what has happened since the position `after` ("": all), then what happens, until the run is over.

        With `follow=False` it ends with what has happened so far. Whoever was cut off goes on with
        ``events(after=event.position)``. A piece has one event; of a fan-out each item has its own up to 1,000 items,
        and beyond that each range that was committed together. The newest 10,000 are kept, and an event of kind
        "missed" stands for others. Raises RunNotFound.
        """
        return events.events(self._engine, self.id, after, follow=follow)

    def aevents(self, after: str = "", *, follow: bool = True) -> AsyncGenerator[RunEvent, None]:
        """`events` without blocking the event loop: ``async for event in run.aevents()``."""
        return events.aevents(self._engine, self.id, after, follow=follow)

    def tree(self, items: int = 10, most: int = 1_000) -> TreeNode:
        """The run's nodes as a tree: below one that maps a DAG its items, below these the nodes within, and so on.

        Of each mapped DAG up to `items` items are shown, failed and running ones before others, and in all about `most`
        nodes. Raises RunNotFound.
        """
        for name, number in (("items", items), ("most", most)):
            check_number(name, number)
        return tree(self._engine, self.id, items, most)

    async def atree(self, items: int = 10, most: int = 1_000) -> TreeNode:
        """`tree` without blocking the event loop."""
        return await asyncio.to_thread(self.tree, items, most)

    def errors(self) -> list[Failure]:
        """Every attempt that failed, with its remote traceback, repeated ones too. Raises RunNotFound."""
        return list(lifecycle.errors(self._engine, self.id))

    async def aerrors(self) -> list[Failure]:
        """`errors` without blocking the event loop."""
        return await asyncio.to_thread(self.errors)

    def _result(self, timeout: float | None) -> Any:
        _refuse_in_tasks("result()")
        check_timeout(timeout)
        return results.wait(self._engine, self.id, timeout)

    async def _aresult(self, timeout: float | None) -> Any:
        _refuse_in_tasks("aresult()")
        check_timeout(timeout)
        state = RunState(await waiting.await_end(self._engine, self.id, timeout))
        return await asyncio.to_thread(results.outcome, self._engine, self.id, state, timeout)


def _refuse_in_tasks(verb: str) -> None:
    if is_executing():
        raise NotConfigured(
            f"{verb} was called inside a task",
            "a task that waits for a run blocks the process that could execute it; take the output as an argument",
        )


def check_timeout(timeout: object) -> None:
    """Refuse what is no time to wait for."""
    if timeout is not None and not (is_number(timeout) and 0 <= timeout <= math.inf):
        raise InvalidParameters(f"timeout={shown(timeout)}", "is not a time", "give seconds, or None to wait for ever")


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in a list of runs: what it is and when it was what, in seconds since the epoch, 0: not yet."""

    id: str
    name: str
    state: RunState
    created: float
    started: float
    ended: float
    run: Run[Any]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        names = ("id", "name", "created", "started", "ended")
        return {name: getattr(self, name) for name in names} | {"state": str(self.state)}


def check_text(culprit: str, text: object, right: str) -> None:
    """Refuse what is no text, or what the store could not hold: a lone surrogate, such as a shell's byte that is no
    UTF-8.
    """
    if not isinstance(text, str):
        raise InvalidParameters(culprit, "is not a str", right)
    if not text.isascii() and _SURROGATE.search(text):
        raise InvalidParameters(culprit, "has a lone surrogate, which UTF-8 cannot hold", right)


def check_number(name: str, number: object) -> None:
    """Refuse what does not say how many to show."""
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InvalidParameters(f"{name}={shown(number)}", "does not say how many", "give an int, at least 1")


def check_listing(state: object, limit: object) -> RunState | None:
    """Refuse a state that there is not, and a limit that is no number."""
    check_number("limit", limit)
    if state is None:
        return None
    if isinstance(state, str) and state in set(RunState):
        return RunState(state)
    raise InvalidParameters(f"state={shown(state)}", "is not a state of a run", f"give one of {', '.join(RunState)}")


def listed(store: Store, name: str, state: RunState | None, limit: int) -> Iterator[RunRecord]:
    """Yield up to `limit` runs of a DAG ("": of all) that are in this state, if one is given, newest first."""
    before, seen = math.inf, set[str]()
    while limit:
        found = store.fleet.runs(name, before, _PORTION)
        new = [run for run in found if run.id not in seen]
        for run in new:
            if run.record is not None and state in (None, run.record.state) and limit:
                limit -= 1
                yield run.record
        if not new:
            return
        # What was enrolled at the very same moment may be on both sides of the border.
        before = found[-1].created
        seen = {run.id for run in found if run.created == before}


def summary(record: RunRecord, client: Client) -> RunSummary:
    """A run as lists show it."""
    from dagcelery.client.clients import Run

    run: Run[Any] = Run(record.id, client=client)
    state = RunState(record.state)
    return RunSummary(record.id, record.name, state, record.created, record.started, record.ended, run)
