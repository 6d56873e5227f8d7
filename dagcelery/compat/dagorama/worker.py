"""A worker in this process: it does what is ready, and ends when nothing is.

The engine is that of all workers. It takes no messages: it looks at the runs themselves, earlier ones first. So prints,
mocks and debuggers work in nodes, which suits tests.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from dagcelery.client import Client, default_client, runs
from dagcelery.engine.hooks import Listener
from dagcelery.engine.run_view import RunView
from dagcelery.engine.worker_loop import Engine
from dagcelery.errors import CodeMismatch, DagceleryError
from dagcelery.store.records import Claim, Response, TaskResult
from dagcelery.worker.heartbeat import Repeated
from dagcelery.worker.process import CeleryProcess

__all__ = ["Inline", "unfinished"]

_FOR_EVER: Final = 1e10
"""Seconds."""


def unfinished(client: Client) -> list[str]:
    """Return the runs that are not over, earlier ones first."""
    found = [each for state in ("pending", "running") for each in runs(state=state, limit=10_000, client=client)]
    return [each.id for each in sorted(found, key=lambda each: each.created)]


class Outcomes(Listener):
    """Counts pieces, and keeps the first error."""

    def __init__(self) -> None:
        self.count = 0
        self.error: BaseException | None = None

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        """Take note of a piece."""
        self.count += 1
        self.error = self.error or result.error
        return result.error is self.error


class Strict(Engine):
    """An engine that notes which other code it was refused for."""

    mismatch: BaseException | None = None

    def refuse(self, run_id: str, queue: str, error: BaseException | None = None, *others: Any) -> None:
        """Leave it to other workers."""
        if isinstance(error, CodeMismatch):
            self.mismatch = error
        super().refuse(run_id, queue, error, *others)


class Inline:
    """Works on what is ready on some queues; `catches` the exceptions of nodes, or raises the first one."""

    def __init__(self, queues: Iterable[str], *, catches: bool) -> None:
        self._client = default_client()
        context = self._client.app_context
        self._queues, self._catches, self._outcomes = list(queues), catches, Outcomes()
        self._id = f"dagorama~{uuid.uuid4().hex[:8]}"
        settings = replace(context.settings, code_mismatch="error", slice_seconds=_FOR_EVER)
        arguments: dict[str, Any] = {"worker_id": self._id, "listener": self._outcomes, "imports": context.imports}
        self._engine = Strict(
            context.store, context.keyring, settings, context.sender, process=CeleryProcess(), **arguments
        )

    def run(self) -> None:
        """Work until nothing is ready; what is to be tried again later is left.

        Raises CodeMismatch for a function that is not the one that was called.
        """
        with self._alive():
            while sum(map(self._has_worked, unfinished(self._client))):
                pass

    def _has_worked(self, run_id: str) -> bool:
        """Work on one run as long as something of it is ready; return whether there was something."""
        self._check_names(run_id)
        before, stuck = self._outcomes.count, set[str]()
        while ready := [queue for queue in self._ready(run_id) if queue not in stuck]:
            for queue in ready:
                count = self._outcomes.count
                self._engine.work(run_id, queue)
                self._raise()
                if self._outcomes.count == count:
                    stuck.add(queue)
        return self._outcomes.count > before

    def _ready(self, run_id: str) -> Iterable[str]:
        progress = self._engine.store.reader.progress(run_id)
        if progress is None or progress.record.is_over:
            return ()
        is_due = any(spot.at <= progress.now for spot in progress.outstanding.retrying)
        return [queue for queue in self._queues if is_due or progress.ready.get(queue)]

    def _raise(self) -> None:
        if self._engine.mismatch is not None:
            raise self._engine.mismatch
        if self._outcomes.error is not None and not self._catches:
            raise self._outcomes.error

    def _check_names(self, run_id: str) -> None:
        """Refuse a function in whose place there is another one, with another name."""
        view = self._engine.find_view(run_id)
        for number, spec in enumerate(view.program.plan.functions if view is not None else ()):
            try:
                name = getattr(view.program.function(number), "__name__", "")  # type: ignore[union-attr]
            except DagceleryError:
                continue  # it is left to other workers where it is called
            planned = spec.qualname.rpartition(".")[2]
            if name not in ("", planned):
                raise CodeMismatch(f"{spec.module}:{spec.qualname}", planned, name)

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """Say as long as a block runs that this worker lives, so that no other one takes over what it does."""
        announcing = Repeated("dagorama-alive", self._engine.settings.heartbeat_seconds, self._announce)
        self._announce()
        announcing.start()
        try:
            yield
        finally:
            announcing.stop()
            self._engine.store.fleet.retire(self._id)

    def _announce(self) -> None:
        self._engine.store.fleet.heartbeat(self._id, self._queues, 1, None, self._engine.keyring.ids)
