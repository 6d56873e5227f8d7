"""A run in this process, on a store in memory: it is the workers' engine that works on it."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from dagcelery.client.targets import Node, plan_of
from dagcelery.payload.codecs import Codec
from dagcelery.payload.signing import Keyring
from dagcelery.planner.plan import Body
from dagcelery.planner.topology import topology
from dagcelery.runtime import parameters, results
from dagcelery.runtime.eager import Mailbox, patient
from dagcelery.runtime.engine import Engine
from dagcelery.runtime.reading import Reader
from dagcelery.runtime.results import Causes
from dagcelery.settings import Settings
from dagcelery.store.local import store_in_process
from dagcelery.store.records import ROOT, NewRun, Scope

_KEY = secrets.token_hex(16)
"""Of this process, so that its runs may take results of each other from the cache."""


class Here:
    """A run that has not begun; it is signed with a key that nobody else knows, so every codec is allowed."""

    def __init__(self, node: Node, settings: Settings) -> None:
        self.causes = Causes()
        self._mailbox = Mailbox()
        self.engine = Engine(
            store_in_process(), Keyring.parse(_KEY), patient(settings), self._mailbox, observer=self.causes
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
        given = parameters.seal(self._view, params, self.engine.limits)
        run = NewRun(self.run_id, self.name, b"", "", topology(self._plan), given.values, given.lists, given.blocks)
        self._mailbox.start(self._view, self.engine.store.machine.create(run).opened)
        self._mailbox.deliver(self.engine)

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
