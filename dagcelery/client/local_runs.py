"""A run in this process, on a store in memory: it is the workers' engine that works on it.

Messages are a list, and a loop delivers them one by one, so no depth is too deep.
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
from typing import Any

from dagcelery.client import results, submissions
from dagcelery.client.results import Causes
from dagcelery.client.submissions import Submittable, plan_of
from dagcelery.engine.reading import Reader
from dagcelery.engine.run_view import RunView
from dagcelery.engine.worker_loop import Engine
from dagcelery.payload.codecs import Codec
from dagcelery.payload.signing import Keyring
from dagcelery.planner.plan import Body
from dagcelery.planner.topology import topology
from dagcelery.settings import Settings
from dagcelery.store.in_process import store_in_process
from dagcelery.store.records import ROOT, NewRun, ReadyStep, Scope
from dagcelery.worker.process import CeleryProcess

_FOR_EVER = 1e10
"""Seconds."""


class InMemoryBroker:
    """A `Sender` that keeps messages until the loop delivers them."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, str]] = deque()
        self._later: list[tuple[float, str, str]] = []

    def start(self, view: RunView, opened: Sequence[ReadyStep], *, is_new: bool = False) -> None:
        """One visit a queue is enough where one worker does everything."""
        for queue in dict.fromkeys(step.queue for step in opened):
            self._waiting.append((view.run_id, queue))

    def wake_up(self, run_id: str, queue: str, count: int, delay_seconds: float = 0.0) -> None:
        """Keep a message, until it is due."""
        if delay_seconds:
            heapq.heappush(self._later, (time.monotonic() + delay_seconds, run_id, queue))
        else:
            self._waiting.append((run_id, queue))

    def revoke(self, messages: Sequence[str], *, terminate: bool) -> None:
        """Nobody but this loop works on them."""

    def slots(self, queue: str) -> int:
        """This process."""
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
    """Settings of a process that has nobody to hand work to: a visit lasts as long as there is work.

    Its store is in memory and goes with it, and so would nobody remove files.
    """
    return replace(settings, slice_seconds=_FOR_EVER, handoff_seconds=_FOR_EVER, spill_url="")


_KEY = secrets.token_hex(16)
"""Of this process, so that its runs may take results of each other from the cache."""


class LocalRun:
    """A run that has not begun; it is signed with a key that nobody else knows, so every codec is allowed."""

    def __init__(self, node: Submittable, settings: Settings) -> None:
        self.causes = Causes()
        self._broker = InMemoryBroker()
        self.engine = Engine(
            store_in_process(),
            Keyring.parse(_KEY),
            eager_settings(settings),
            self._broker,
            process=CeleryProcess(),
            listener=self.causes,
        )
        self.run_id = uuid.uuid4().hex
        self._plan = plan_of(node, queue="celery", settings=settings)
        self._view = self.engine.adopt(self.run_id, self._plan, is_alone=True)

    @property
    def name(self) -> str:
        """What is run, as errors call it."""
        return self._plan.name

    @property
    def body(self) -> Body:
        """The parameters and outputs of what is run."""
        return self._plan.bodies[0]

    def codec(self, number: int) -> Codec:
        """A codec of the plan."""
        return self._view.program.codec(number)

    def run(self, params: Mapping[str, object]) -> None:
        """Run to the end, whichever it is. Raises InvalidParameters, SerializationError."""
        given = submissions.seal(self._view, params)
        run = NewRun(self.run_id, self.name, b"", "", topology(self._plan), given.values, given.lists, given.blocks)
        self._broker.start(self._view, self.engine.store.machine.create(run).opened)
        self._broker.deliver(self.engine)

    def result(self) -> Any:
        """Return or raise what came of it."""
        return results.wait(self.engine, self.run_id, 0, self.causes)

    def raise_failure(self) -> None:
        """Raise what failed it, if anything did."""
        found = results.state(self.engine.store, self.run_id)
        if found is not results.RunState.DONE:
            results.outcome(self.engine, self.run_id, found, 0.0, self.causes)

    def output(self, name: str, *, lazy: bool = False) -> Any:
        """An output by name; `lazy`: of a list the elements are read as they are asked for."""
        return self._reader.evaluate(self._expressions[name], lazy=lazy)

    @cached_property
    def _expressions(self) -> dict[str, Any]:
        return {name: expr for name, expr, _ in self.body.outputs}

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._view, Scope(ROOT))
