"""Whole runs, as submitters and workers both deal with them: read their plans, start, end and delete them.

So are the limits of a DAG's active runs and of a task's concurrent pieces, whose places are kept in the store. The
place of a run that is over, or of a piece whose claim is gone, is taken away as soon as another needs it, so a death
blocks others only until it is noticed.
"""

from __future__ import annotations

import hashlib
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from dagcelery import bounded
from dagcelery.engine.interrupts import quiet_logger, tell_apart
from dagcelery.engine.program import Program
from dagcelery.engine.run_view import RunView
from dagcelery.errors import BrokerUnavailable, DagceleryError, NotSent, RunNotFound, StoreFull, StoreUnavailable
from dagcelery.payload import addresses, values
from dagcelery.payload.signing import Keyring
from dagcelery.payload.spill import Spill
from dagcelery.payload.values import Limits
from dagcelery.planner.encoding import decode_plan
from dagcelery.planner.plan import KEPT_BYTES, Plan, size_of
from dagcelery.settings import Settings
from dagcelery.store.protocol import Store
from dagcelery.store.records import Claim, PieceId, ReadyStep, RunRecord

Quota = tuple[str, int]
"""The name of a limit, and how many may be inside."""


class Sender(Protocol):
    """Brings workers to a run."""

    def check(self, plan: Plan) -> None:
        """Raise NotSent if a plan has a queue to which no message could be sent."""

    def start(self, view: RunView, opened: Sequence[ReadyStep], *, is_new: bool = False) -> None:
        """Send what these steps need: chords, chains, plain messages. A run that `is_new` waits for earlier ones."""

    def wake_up(self, run_id: str, queue: str, count: int, delay_seconds: float = 0.0) -> None:
        """Send `count` messages that there is ready work of a run on a queue, to arrive after `delay_seconds`."""

    def slots(self, queue: str) -> int:
        """Return how many processes consume a queue, at least 1."""

    def revoke(self, messages: Sequence[str], *, terminate: bool) -> None:
        """Take back messages that have not been begun; `terminate` the processes of those that have."""


class Quotas:
    """Takes and gives places. `patience_seconds` is how long a blocked step waits if nothing unblocks it earlier."""

    def __init__(self, store: Store, sender: Sender, patience_seconds: float) -> None:
        self._store = store
        self._sender = sender
        self._patience = patience_seconds

    # -- runs -------------------------------------------------------------------------------------
    def enter(self, view: RunView) -> bool:
        """Let a run become active, or wait; a DAG without a limit lets all of its runs in."""
        quota = view.program.run_quota
        if quota is None:
            return True
        limit, most = quota
        entered = self._store.fleet.enter(limit, view.run_id, view.run_id, most)
        if not entered and (gone := self._runs_gone(limit)):
            entered = self._store.fleet.enter(limit, view.run_id, view.run_id, most, gone)
        return entered

    def leave(self, view: RunView) -> Sequence[str]:
        """Give the place of a run back that is over. Return the runs that may try to become active."""
        quota = view.program.run_quota
        return () if quota is None else self._store.fleet.leave(quota[0], view.run_id, quota[1])

    def _runs_gone(self, limit: str) -> list[str]:
        records = {run_id: self._store.reader.record(run_id) for run_id in self._store.fleet.inside(limit)}
        return [run_id for run_id, record in records.items() if record is None or record.is_over]

    # -- pieces -----------------------------------------------------------------------------------
    def take(self, quota: Quota, view: RunView, claim: Claim, queue: str, owner: str) -> bool:
        """Take a place for a claimed piece; where there is none the piece is given back, and its step is blocked."""
        fleet, (limit, most) = self._store.fleet, quota
        member, waiter = _member(view, claim, owner), _waiter(view, claim, queue)
        if fleet.enter(limit, member, waiter, most):
            return True
        gone = [other for other in fleet.inside(limit) if not self._is_held(other)]
        if gone and fleet.enter(limit, member, waiter, most, gone):
            return True
        self._store.machine.block(view.run_id, claim, owner, self._patience)
        # A place that was given back before the step was blocked has unblocked nothing.
        if fleet.enter(limit, member, waiter, most):
            self.give(quota, view, claim, owner)
            self._unblock(waiter)
        return False

    def _is_held(self, member: str) -> bool:
        run_id, piece, owner = member.split("|")
        return self._store.reader.claimed(run_id, piece) == owner

    def give(self, quota: Quota, view: RunView, claim: Claim, owner: str) -> None:
        """Give a place back, and unblock the steps that wait for one."""
        for waiter in self._store.fleet.leave(quota[0], _member(view, claim, owner), quota[1]):
            self._unblock(waiter)

    def _unblock(self, waiter: str) -> None:
        run_id, queue, step = waiter.split("|")
        if self._store.machine.unblock(run_id, step).opened:
            self._sender.wake_up(run_id, queue, 1)


def _member(view: RunView, claim: Claim, owner: str) -> str:
    return f"{view.run_id}|{claim.piece}|{owner}"


def _waiter(view: RunView, claim: Claim, queue: str) -> str:
    return f"{view.run_id}|{queue}|{PieceId(claim.scope.id, claim.step).name}"


log = quiet_logger(__name__)

_KEPT_RUNS = 64

_KNOWN_RUNS = 1_000
"""Runs whose programs are known as long as other runs have the same ones: their plans are not read again."""

_FREE_SECONDS = 0.5


def _size(programs: Collection[Program]) -> int:
    return size_of(program.plan for program in programs)


def _size_of_views(views: Collection[RunView]) -> int:
    return size_of(view.program.plan for view in views)


class RunControl:
    """One process's access to runs: a store, keys, a sender, and the plans that it has read.

    Of a run that this process has ended, `on_end` is told id, DAG, state and seconds.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        settings: Settings,
        sender: Sender,
        *,
        on_end: Callable[[str, str, str, float], None],
        imports: Collection[str] | None = None,
    ) -> None:
        self.store = store
        self.keyring = keyring
        self.settings = settings
        self.imports = settings.imports if imports is None else imports
        self.sender = sender
        self.spill = Spill(settings.spill_url, settings.spill_bytes) if settings.spill_url else None
        self.limits = Limits(
            payload_bytes=settings.max_payload_bytes,
            items=settings.max_items,
            spool_bytes=settings.spool_bytes,
        )
        self.quotas = Quotas(store, sender, settings.dead_seconds)
        self._on_end = on_end
        self._views: dict[str, RunView] = {}
        self._programs: dict[str, Program] = {}
        self._adopted: dict[int, Program] = {}
        self._programs_of: dict[str, tuple[weakref.ref[Program], str]] = {}
        self._free_after: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def record(self, run_id: str) -> RunRecord:
        """Return what the store knows of a run itself. Raises RunNotFound."""
        record = self.store.reader.record(run_id)
        if record is None:
            raise RunNotFound(run_id)
        return record

    def adopt(self, run_id: str, plan: Plan, *, is_alone: bool = False) -> RunView:
        """Use a plan that this process made itself, functions and all; `is_alone` if no other will see the run."""
        sealed_by = self.keyring.ids[0] if self.keyring.signed else ""
        program = self._adopted.get(id(plan))
        if program is None or program.plan is not plan or is_alone:  # a run in this process looks at its functions anew
            program = Program(plan, self.keyring, None)
            bounded.put(self._adopted, id(plan), program, _KEPT_RUNS, size=_size, most_size=KEPT_BYTES)
        return self._keep(run_id, program, sealed_by, is_alone=is_alone)

    def view(self, run_id: str) -> RunView:
        """Return a run with its verified plan.

        Raises RunNotFound, BadSignature, PlanVersionUnsupported.
        """
        view = self._views.get(run_id)
        if view is None:
            found, sealed_by = self._programs_of.get(run_id, (None, ""))
            program = found() if found else None
            view = self._keep(run_id, *((program, sealed_by) if program else self._program(run_id)))
        return view

    def _keep(self, run_id: str, program: Program, sealed_by: str = "", *, is_alone: bool = False) -> RunView:
        folder = self.spill.folder(run_id, partial(self.store.fleet.spills, run_id)) if self.spill is not None else None
        view = RunView(self.store, self.keyring, program, run_id, self.limits, folder, is_alone=is_alone)
        view.sealed_by = sealed_by
        if not is_alone:
            bounded.put(self._programs_of, run_id, (weakref.ref(program), sealed_by), _KNOWN_RUNS)
        return bounded.put(self._views, run_id, view, _KEPT_RUNS, size=_size_of_views, most_size=KEPT_BYTES)

    def _program(self, run_id: str) -> tuple[Program, str]:
        """Return a run's program, and the id of the key that sealed its plan."""
        stored = self.store.reader.plan(run_id)
        if stored is None:
            raise RunNotFound(run_id)
        _, body = values.open_bytes(self.keyring, addresses.plan(run_id), stored)
        text = bytes(body)
        digest = hashlib.sha256(text).hexdigest()
        program = self._programs.get(digest)
        if program is None:
            program = Program(decode_plan(text), self.keyring, self.imports, self.settings.code_mismatch)
            bounded.put(self._programs, digest, program, _KEPT_RUNS, size=_size, most_size=KEPT_BYTES)
        return program, values.key_of(stored)

    def ended(
        self,
        run_id: str,
        opened: Sequence[ReadyStep],
        state: str = "",
        lasted: float | None = None,
        *,
        is_settled: bool = False,
    ) -> None:
        """Do what is due at a run's end: send for its hooks, let its keys expire, start runs that waited for it.

        Only the process that has ended it knows how long it `lasted`, and tells `on_end`. If it `is_settled`, the store
        has seen to its keys.
        """
        if lasted is not None:
            self.tell_end(run_id, state, lasted)
        if not is_settled:
            self.store.machine.expire(run_id, self.settings.result_ttl_seconds)
        view = self.find_view(run_id)
        if view is not None:
            self.free(view, is_over=True)
        with self.leaving_to_sweeps(run_id):
            for step in opened:
                self.sender.wake_up(run_id, step.queue, 1)
        for waiting in self.quotas.leave(view) if view else ():
            with self.leaving_to_sweeps(waiting):
                self.try_start(waiting)

    @contextmanager
    def leaving_to_sweeps(self, run_id: str) -> Iterator[None]:
        """Leave what cannot be sent or written now to the sweeps: a run is over all the same."""
        try:
            yield
        except (BrokerUnavailable, NotSent, StoreFull) as error:
            log.warning("run %s: %s", run_id, error, extra={"action": "send_failed", "run": run_id})

    def tell_end(self, run_id: str, state: str, seconds: float) -> None:
        """Tell `on_end` that this process has ended a run."""
        view = self.find_view(run_id)
        tell_apart(self._on_end, run_id, view.program.plan.name if view else "", state, seconds)

    def try_start(self, run_id: str) -> bool:
        """Start a run that was held, if its DAG's limit of active runs allows it."""
        view = self.find_view(run_id)
        if view is None or not self.quotas.enter(view):
            return False
        self.sender.start(view, self.store.machine.admit(run_id).opened, is_new=True)
        return True

    def free(self, view: RunView, *, is_over: bool = False) -> None:
        """Remove what is not read any more, if the DAG keeps nothing but its outputs; now and then, and at the end.

        It costs a look at the run's keys, so it is done for a twentieth of the time at most.
        """
        began = time.monotonic()
        if not view.program.frees or (began < self._free_after.get(view.run_id, 0.0) and not is_over):
            return
        try:
            self.store.machine.collect_garbage(view.run_id)
        except StoreUnavailable:
            return  # the next process does it
        ended = time.monotonic()
        bounded.put(self._free_after, view.run_id, ended + max(_FREE_SECONDS, 20 * (ended - began)), _KEPT_RUNS)

    def delete(self, run_id: str) -> None:
        """Forget everything of a run. A process that dies before its files are gone leaves them to a sweep."""
        self.store.machine.delete(run_id)
        if self.spill is not None:
            self.spill.remove(run_id)

    def find_view(self, run_id: str) -> RunView | None:
        """Return `view`, or None for a run that is gone; one whose plan this process may not read is left to others."""
        try:
            return self.view(run_id)
        except RunNotFound:
            return None
        except DagceleryError as error:
            self.say_refused(run_id, error)
            return None

    def say_refused(self, run_id: str, error: BaseException, address: str = "") -> None:
        """Log, once in a while for each error, that a run, or a node of it, is left to other workers."""
        what = f"node '{address}' of run {run_id}" if address else f"run {run_id}"
        if self._said.get(key := str(error)) is None:
            about = {"action": "refused", "run": run_id}
            log.error("%s was refused: %s", what, error, extra=about)
        bounded.put(self._said, key, what, _KEPT_RUNS)
