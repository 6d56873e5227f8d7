"""The engine: a message brings a worker to a run, where it claims, executes and finishes pieces until none is ready.

It speaks to the store, and to a `Sender` for messages; it knows neither Celery nor Redis, so `invoke` and eager mode
run the same engine.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections.abc import Collection, Sequence
from functools import partial
from typing import Protocol

from dagcelery.errors import DagceleryError, RunNotFound, StoreUnavailable
from dagcelery.payload import addresses, values
from dagcelery.payload.signing import Keyring
from dagcelery.payload.spill import Spill
from dagcelery.payload.values import Limits
from dagcelery.planner.plan import Plan
from dagcelery.runtime.calls import Listener
from dagcelery.runtime.durations import Durations
from dagcelery.runtime.execution import Executed
from dagcelery.runtime.interrupts import noted
from dagcelery.runtime.program import Program
from dagcelery.runtime.quotas import Quotas
from dagcelery.runtime.reading import RunView
from dagcelery.runtime.telling import quiet_logger, tell_apart
from dagcelery.runtime.visits import Visit
from dagcelery.runtime.watch import Watch
from dagcelery.settings import Settings
from dagcelery.store.protocol import Store
from dagcelery.store.records import Claim, ReadyStep, Response

log = quiet_logger(__name__)


class Sender(Protocol):
    """Brings workers to a run."""

    def start(self, view: RunView, opened: Sequence[ReadyStep], *, is_new: bool = False) -> None:
        """Send what these steps need: chords, chains, plain visits. A run that `is_new` waits for those under way."""

    def visit(self, run_id: str, queue: str, count: int, delay_seconds: float = 0.0) -> None:
        """Send `count` messages that there is ready work of a run on a queue, to arrive after `delay_seconds`."""

    def slots(self, queue: str) -> int:
        """How many processes consume a queue, at least 1."""

    def revoke(self, messages: Sequence[str], *, terminate: bool) -> None:
        """Take back messages that have not been begun; `terminate` the processes of those that have."""


class Observer(Protocol):
    """Is told of each piece, so that Celery's events and signals can be fired."""

    def listener(self, view: RunView, grant: Claim) -> Listener | None:
        """Who is to be told of the calls of a grant's pieces while they are made; None: nobody."""

    def ended(self, view: RunView, grant: Claim, executed: Executed, reply: Response) -> bool:
        """A piece was executed, and the store said `reply`; answers whether its error is kept, frames and all."""

    def run_ended(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        """This process has ended a run, which took so long."""


class Unobserved:
    """Nobody listens."""

    def listener(self, view: RunView, grant: Claim) -> Listener | None:
        """Nobody."""
        return None

    def ended(self, view: RunView, grant: Claim, executed: Executed, reply: Response) -> bool:
        """Nothing to tell, and nothing to keep."""
        return False

    def run_ended(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        """Nothing to tell."""


_KEPT_RUNS = 64
_FREE_SECONDS = 0.5


class Engine:
    """What one process needs to work on runs: a store, keys, a sender, and what it learned of functions."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        settings: Settings,
        sender: Sender,
        *,
        boot: str = "local",
        observer: Observer | None = None,
        imports: Collection[str] | None = None,
    ) -> None:
        self.store = store
        self.keyring = keyring
        self.settings = settings
        self.imports = settings.imports if imports is None else imports
        self.sender = sender
        self.spill = Spill(settings.spill_url, settings.spill_bytes) if settings.spill_url else None
        self.observer = observer or Unobserved()
        self.durations = Durations()
        self.quotas = Quotas(store, sender, settings.dead_seconds)
        self.watch = Watch(settings.heartbeat_seconds)
        self.limits = Limits(
            payload_bytes=settings.max_payload_bytes,
            items=settings.max_items,
            spool_bytes=settings.spool_bytes,
        )
        self._boot = boot
        self._calls = itertools.count(1)
        self._views: dict[str, RunView] = {}
        self._programs: dict[str, Program] = {}
        self._free_after: dict[str, float] = {}

    @property
    def owner(self) -> str:
        """This thread of this process, as claims name it."""
        return f"{self._boot}:{os.getpid()}:{threading.get_ident()}"

    def token(self) -> str:
        """A name for one claiming call that no other call has."""
        return f"{os.getpid()}-{next(self._calls)}-{time.time_ns()}"

    def adopt(self, run_id: str, plan: Plan, *, is_alone: bool = False) -> RunView:
        """Use a plan that this process made itself, functions and all; `is_alone` if no other will see the run."""
        sealed_by = self.keyring.ids[0] if self.keyring.signed else ""
        return self._keep(run_id, Program(plan, self.keyring, None), sealed_by, is_alone=is_alone)

    def view(self, run_id: str) -> RunView:
        """The run with its verified plan. RunNotFound, BadSignature, PlanVersionUnsupported."""
        view = self._views.get(run_id)
        if view is None:
            view = self._keep(run_id, *self._program(run_id))
        return view

    def _keep(self, run_id: str, program: Program, sealed_by: str = "", *, is_alone: bool = False) -> RunView:
        if len(self._views) >= _KEPT_RUNS:
            self._views.pop(next(iter(self._views)))
        folder = self.spill.folder(run_id, partial(self.store.fleet.spills, run_id)) if self.spill is not None else None
        view = RunView(self.store, self.keyring, program, run_id, folder, is_alone=is_alone)
        view.sealed_by = sealed_by
        self._views[run_id] = view
        return view

    def _program(self, run_id: str) -> tuple[Program, str]:
        """The run's program, and the id of the key that sealed its plan."""
        stored = self.store.reader.plan(run_id)
        if stored is None:
            raise RunNotFound(run_id)
        _, body = values.open_bytes(self.keyring, addresses.plan(run_id), stored)
        text = bytes(body)
        digest = hashlib.sha256(text).hexdigest()
        program = self._programs.get(digest)
        if program is None:
            if len(self._programs) >= _KEPT_RUNS:
                self._programs.pop(next(iter(self._programs)))
            imports = None if self.keyring.signed else self.imports
            program = self._programs[digest] = Program(
                Plan.decode(text), self.keyring, imports, self.settings.code_mismatch
            )
        return program, values.key_of(stored)

    def visit(self, run_id: str, queue: str, focus: str = "", message: str = "") -> None:
        """Work on a run until nothing is ready on `queue`, or the message's time is over."""
        view = self._met(run_id)
        if view is not None:
            with noted(), view.visited():
                Visit(self, view, queue, message).work(focus)

    def poison(self, run_id: str, queue: str, step: str) -> None:
        """Let what is poisoned fail, where no worker of its queue may ever come to do so."""
        view = self._met(run_id)
        if view is not None:
            with noted(), view.visited():
                Visit(self, view, queue, "").fail(step)

    def ended(self, run_id: str, opened: Sequence[ReadyStep], state: str = "", lasted: float | None = None) -> None:
        """A run is over: what is to be called then is sent for, and its keys live as long as results do.

        Who has ended it, and so knows how long it `lasted`, tells the observer.
        """
        if lasted is not None:
            self.tell_end(run_id, state, lasted)
        for step in opened:
            self.sender.visit(run_id, step.queue, 1)
        self.store.machine.expire(run_id, self.settings.result_ttl_seconds)
        view = self._met(run_id)
        if view is not None:
            self.free(view, is_over=True)
        for waiting in self.quotas.leave(view) if view else ():
            self.try_start(waiting)

    def tell_end(self, run_id: str, state: str, seconds: float) -> None:
        """Tell the observer that this process has ended a run."""
        view = self._met(run_id)
        tell_apart(self.observer.run_ended, run_id, view.program.plan.name if view else "", state, seconds)

    def try_start(self, run_id: str) -> bool:
        """Start a run that was held, if as many of its DAG as may be active are not active already."""
        view = self._met(run_id)
        if view is None or not self.quotas.enter(view):
            return False
        self.sender.start(view, self.store.machine.admit(run_id).opened, is_new=True)
        return True

    def free(self, view: RunView, *, is_over: bool = False) -> None:
        """Remove what nobody reads any more, if the DAG keeps nothing but its outputs; now and then, and at the end.

        It costs a look at the run's keys, so it is done for a twentieth of the time at most.
        """
        began = time.monotonic()
        if not view.program.frees or (began < self._free_after.get(view.run_id, 0.0) and not is_over):
            return
        try:
            self.store.machine.collect_garbage(view.run_id)
        except StoreUnavailable:
            return  # whoever is next does it
        if len(self._free_after) >= _KEPT_RUNS:
            self._free_after.pop(next(iter(self._free_after)), None)
        ended = time.monotonic()
        self._free_after[view.run_id] = ended + max(_FREE_SECONDS, 20 * (ended - began))

    def delete(self, run_id: str) -> None:
        """Forget everything of a run. Whoever dies before its files are gone leaves them to a sweep."""
        self.store.machine.delete(run_id)
        if self.spill is not None:
            self.spill.remove(run_id)

    def links(self, run_id: str, queue: str, steps: Sequence[str], then: str, message: str = "") -> None:
        """Do just `steps`, as one link of a Celery chain; the chain itself sends the next link, to step `then`."""
        view = self._met(run_id)
        if view is not None:
            with noted(), view.visited():
                Visit(self, view, queue, message, steps, then).work_on(steps)

    def _met(self, run_id: str) -> RunView | None:
        """The run that a message names; one whose plan this worker may not read is left to others, unharmed."""
        try:
            return self.view(run_id)
        except RunNotFound:
            return None
        except DagceleryError as error:
            log.error("run %s was refused: %s", run_id, error, extra={"action": "refused", "run": run_id})  # noqa: TRY400
            return None
