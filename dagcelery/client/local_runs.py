"""Runs in this process, on a store in memory. The workers' engine executes them: they differ in speed, not in meaning.

Messages are a list, which a loop delivers one by one, so no depth is too deep.
"""

from __future__ import annotations

import heapq
import secrets
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dagcelery.client import following, lifecycle
from dagcelery.client.lifecycle import Submittable, plan_of
from dagcelery.engine.hooks import Listener
from dagcelery.engine.io import Reader
from dagcelery.engine.run_view import RunView
from dagcelery.payload.codecs import Codec
from dagcelery.payload.signing import Keyring
from dagcelery.planner.topology import topology
from dagcelery.settings import Settings
from dagcelery.store.in_process import store_in_process
from dagcelery.store.records import HOOK, ROOT, Claim, NewRun, ReadyStep, Response, RunState, Scope, TaskResult
from dagcelery.worker.process import CeleryProcess

if TYPE_CHECKING:
    from dagcelery.engine.worker_loop import Engine

_FOR_EVER = 1e10
"""Seconds."""


class InMemoryBroker:
    """A `Sender` that keeps messages until they are delivered to the engine of this process."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, str]] = deque()
        self._later: list[tuple[float, str, str]] = []

    def start(self, view: RunView, opened: Sequence[ReadyStep], *, is_new: bool = False) -> None:
        """Keep one message for each queue, which is enough for a single worker."""
        for queue in dict.fromkeys(step.queue for step in opened):
            self._waiting.append((view.run_id, queue))

    def wake_up(self, run_id: str, queue: str, count: int, delay_seconds: float = 0.0) -> None:
        """Keep a message until it is due."""
        if delay_seconds:
            heapq.heappush(self._later, (time.monotonic() + delay_seconds, run_id, queue))
        else:
            self._waiting.append((run_id, queue))

    def revoke(self, messages: Sequence[str], *, terminate: bool) -> None:
        """Do nothing: no other process works on them."""

    def slots(self, queue: str) -> int:
        """Return 1, for this process."""
        return 1

    def deliver(self, engine: Engine) -> None:
        """Deliver messages, and those that they cause, until there are none."""
        while self._waiting or self._later:
            if self._waiting:
                engine.work(*self._waiting.popleft())
            else:
                due, run_id, queue = heapq.heappop(self._later)
                time.sleep(max(0.0, due - time.monotonic()))
                self._waiting.append((run_id, queue))


def eager_settings(settings: Settings) -> Settings:
    """Return settings for a process that hands work to no other: it works on a run for as long as there is work.

    Nothing is spilled, since the store goes with the process, and no sweep would remove the files.
    """
    return replace(settings, slice_seconds=_FOR_EVER, handoff_seconds=_FOR_EVER, spill_url="")


_KEY = secrets.token_hex(16)
"""Of this process, so that its runs may take results of each other from the cache."""


class FirstError(Listener):
    """The first error of a run that stands; it becomes the cause of what the run raises."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        """Keep the first error after which nothing was tried; the one of a hook fails no run."""
        if self.error is None and response.state == "committed" and claim.step != HOOK:
            self.error = result.error
        return result.error is self.error


class LocalRun:
    """A run that has not begun; it is signed with a key of this process alone, so every codec is allowed."""

    def __init__(self, node: Submittable, settings: Settings) -> None:
        from dagcelery.engine.worker_loop import Engine  # late: a process that submits to workers needs none

        self.first = FirstError()
        self._broker = InMemoryBroker()
        self.engine = Engine(
            store_in_process(),
            Keyring.parse(_KEY),
            eager_settings(settings),
            self._broker,
            process=CeleryProcess(),
            listener=self.first,
        )
        self.run_id = uuid.uuid4().hex
        self.plan = plan_of(node, queue="celery", settings=settings)
        self._view = self.engine.adopt(self.run_id, self.plan, is_alone=True)

    def codec(self, number: int) -> Codec:
        """Return a codec of the plan."""
        return self._view.program.codec(number)

    def run(self, params: Mapping[str, object]) -> None:
        """Run to the end, also if that is a failure.

        Raises InvalidParameters, SerializationError.
        """
        sealed = lifecycle.seal(self._view, params)
        plan = self.plan
        run = NewRun(self.run_id, plan.name, b"", topology(plan), sealed.values, sealed.lists, sealed.blocks)
        self._broker.start(self._view, self.engine.store.machine.create(run).opened)
        self.deliver()

    def deliver(self) -> None:
        """Do what there are messages for."""
        self._broker.deliver(self.engine)

    def result(self) -> Any:
        """Return or raise what came of it."""
        return following.outcome(self.engine, self.run_id, self._state(), cause=self.first.error)

    def raise_failure(self) -> None:
        """Raise what failed it, if anything did."""
        if self._state() is not RunState.DONE:
            self.result()

    def _state(self) -> RunState:
        return RunState(self.engine.record(self.run_id).state)

    def output(self, name: str, *, lazy: bool = False) -> Any:
        """Return an output by name; `lazy`: the elements of a list are read as they are asked for."""
        return self._reader.evaluate(self._expressions[name], lazy=lazy)

    @cached_property
    def _expressions(self) -> dict[str, Any]:
        return {name: expr for name, expr, _ in self.plan.bodies[0].outputs}

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._view, Scope(ROOT))
