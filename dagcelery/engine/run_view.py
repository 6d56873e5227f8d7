"""What this process knows of one run: its program, its scopes, the lengths of its lists, and names for people."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from dagcelery import bounded
from dagcelery.engine.program import Program
from dagcelery.errors import BadSignature, DagceleryError, DeserializationError, ValueFreed
from dagcelery.payload import addresses, failures, values
from dagcelery.payload.codecs import Codec
from dagcelery.payload.signing import Keyring
from dagcelery.payload.spill import Folder
from dagcelery.payload.values import Limits
from dagcelery.planner.encoding import decode_plan
from dagcelery.planner.plan import Body, Plan, step_of
from dagcelery.planner.topology import topology
from dagcelery.store.protocol import Store
from dagcelery.store.records import ROOT, PieceId, RunRecord, Scope, scope_id

_RECORD_SECONDS = 5.0

_FANOUTS = 64

_PATH_CHARACTERS = 10_000_000

_NUMBERS = 64
"""Bodies that are given numbers at once."""

_PLANS = 5_000
"""Plans that one process keeps of one run."""

UNREADABLE = (BadSignature, DeserializationError)
"""Stored bytes that cannot be trusted, or not be decoded."""


class RunView:
    """What this process knows of one run: its program, where its scopes hang, how long its lists are; and the folder
    where large values stand in files, if they do.

    Of a run that is `is_alone` no other process will ever know.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        program: Program,
        run_id: str,
        limits: Limits,
        folder: Folder | None = None,
        *,
        is_alone: bool = False,
    ) -> None:
        self.store = store
        self.keyring = keyring
        self.program = program
        self.run_id = run_id
        self.limits = limits
        self.is_alone = is_alone
        self.sealed_by = ""
        """The id of the key that sealed the run's plan; empty if none did."""
        self._planned = program
        self._owners: dict[int, str] = {}
        self._lock = threading.Lock()
        self._next_number = self._free_numbers = self._handlers = 0
        self.folder = folder
        self._scopes: dict[str, Scope] = {ROOT: Scope(ROOT)}
        self._paths: dict[str, str] = {ROOT: ""}
        self._counts: dict[tuple[str, str], int] = {}
        self._record: RunRecord | None = None
        self._recorded = 0.0
        self.fanouts: dict[str, tuple[str, int]] = {}
        self.functions: dict[str, None] = {}
        self._has_met = False
        self.generation = self._epoch = 0

    def enter(self, generation: int) -> None:
        """Forget lengths of lists and bodies of scopes when parts of the run were cleared: they may differ now."""
        self.generation, self._counts = generation, {}
        self._forget_scopes()

    def look(self, epoch: int) -> None:
        """Begin to view the run in this epoch: records of an earlier one may have been cleared since."""
        if epoch != self._epoch:
            self._epoch, self._record = epoch, None
            self.enter(self.generation)

    def deadline(self) -> float | None:
        """Return when the run will be ended, in seconds since the epoch; None if it may take its time.

        A resumed run has another one: what is known is asked for again now and then.
        """
        record = self.record()
        return record.deadline or None if record else None

    def record(self) -> RunRecord | None:
        """Return the run's record, which was read a short time ago; None if the run is gone."""
        if self._record is None or time.monotonic() - self._recorded > _RECORD_SECONDS:
            self._record, self._recorded = self.store.reader.record(self.run_id), time.monotonic()
        return self._record

    def meet_first(self) -> None:
        """Remember what stands first in the plan: how long its functions take may be known of other runs."""
        if not self._has_met:
            self._has_met = True
            for number, body in enumerate(self.program.plan.bodies[:_FANOUTS]):
                for step in range(min(len(body.steps), _FANOUTS)):
                    self.meet(number, step)

    def meet(self, body: int, step: int) -> None:
        """Remember a fan-out: by which function its durations are kept, and how many items one claim may take; or the
        function of a step that runs once.
        """
        if self.program.step(body, step).over is None:
            function = self.program.called(body, step)
            if function and function not in self.functions:
                bounded.put(self.functions, function, None, _FANOUTS)
            return
        name = f"{body}.{step}"
        fan_out = self.fanouts.pop(name, None)
        if fan_out is None:
            if self.program.is_branch(body, step):  # it has one item at most
                return
            fan_out = self.program.clock_key(body, step), self.program.most_items(body, step)
        bounded.put(self.fanouts, name, fan_out, _FANOUTS)  # each claim names them all: the least recently met go

    # -- scopes, and plans that were made while the run goes on ------------------------------------
    def scope(self, name: str) -> Scope:
        """Return where a scope hangs; its name proves it."""
        scope = self._scopes.get(name)
        if scope is None:
            record = self.store.reader.scope(self.run_id, name)
            if record is None:
                raise BadSignature(f"scope {name} of run {self.run_id}", "the store does not have it")
            scope = self.trust(record)
        return scope

    def have_scopes(self, names: Iterable[str]) -> None:
        """Read where scopes hang, and those around them: one call for each level, not for each scope."""
        found, wanted = dict[str, Scope](), set(names) - self._scopes.keys()
        while wanted:
            records = self.store.reader.scopes(self.run_id, sorted(wanted))
            found |= {record.id: record for record in records}
            wanted = {record.parent for record in records} - found.keys() - self._scopes.keys()
        for record in reversed(found.values()):
            with suppress(BadSignature):  # it was taken back meanwhile
                self.trust(record)

    def trust(self, scope: Scope) -> Scope:
        """Check that a scope hangs where its record says, and have its plan at hand."""
        trusted = self._scopes.get(scope.id)
        if trusted is not None and trusted.body == scope.body:
            return trusted
        if scope_id(self.run_id, scope.parent, scope.step, scope.index) != scope.id:
            raise BadSignature(f"scope {scope.id} of run {self.run_id}", "its record names another place")
        if not self._has_own_plan(scope) and not self._is_entered(scope):
            self._forget_scopes()  # those around it may be from an earlier generation
            if not self._is_entered(scope):
                raise BadSignature(f"scope {scope.id} of run {self.run_id}", "its record names another body")
        if len(self._scopes) > 10_000:
            self._scopes = {ROOT: self._scopes[ROOT]}
        self._scopes[scope.id] = scope
        return scope

    def _is_entered(self, scope: Scope) -> bool:
        """Return whether the step that a scope hangs at enters its body."""
        around = self.body(scope.parent).steps
        return scope.step < len(around) and around[scope.step].target == scope.body

    def body(self, scope: str) -> Body:
        """Return the body that a scope runs. To find the scope may mean to take in its plan, in a new program."""
        place = self.scope(scope)
        return self.program.body(place.body)

    def _forget_scopes(self) -> None:
        self._scopes, self._paths = {ROOT: Scope(ROOT)}, {ROOT: ""}

    def _has_own_plan(self, scope: Scope) -> bool:
        """Return whether a scope runs a plan that a piece made, and not a body of the plan around it."""
        if self.is_planned(scope.body):
            return False
        owner = self.scope_of(scope.body)
        if owner not in (None, scope.id):
            raise BadSignature(f"scope {scope.id} of run {self.run_id}", "its record names another body")
        return owner is not None

    def forget(self) -> None:
        """Forget plans that were made while the run goes on, and the scopes that run them."""
        self.program, self._owners = self._planned, {}
        self._forget_scopes()

    # -- plans that pieces made --------------------------------------------------------------------
    def is_planned(self, body: int) -> bool:
        """Return whether a body belongs to the plan that was submitted."""
        return body < len(self._planned.plan.bodies)

    def scope_of(self, body: int) -> str | None:
        """Return the scope whose plan begins with a body; None if none begins there."""
        owner = self._owners.get(body)
        if owner is None and not self.program.knows(body):
            return self._read(body)
        if owner is None:
            with self._lock:  # another thread may be about to say whose it is
                return self._owners.get(body)
        return owner

    def scopes_of(self, bodies: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Yield, after its body, each scope whose plan begins with one of these bodies; the plan is at hand then."""
        unknown = [body for body in bodies if not self.program.knows(body)]
        plans = dict(zip(unknown, self.store.reader.child_plans(self.run_id, unknown), strict=True))
        for body in bodies:
            stored = plans.get(body)
            scope = self._owners.get(body) if stored is None else self._take_in(body, *stored)
            if scope is not None:
                yield body, scope

    def _read(self, body: int) -> str | None:
        stored = self.store.reader.child_plans(self.run_id, [body])[0]
        return None if stored is None else self._take_in(body, *stored)

    def _take_in(self, body: int, scope: str, sealed: bytes) -> str:
        _, text = values.open_bytes(self.keyring, addresses.scope(self.run_id, scope), sealed)
        self.link(scope, body, decode_plan(text))
        return scope

    def link(self, scope: str, first: int, plan: Plan) -> None:
        """Take in the plan of a scope, its bodies numbered from `first` on. BadSignature if others have those."""
        with self._lock:
            if self._owners.get(first) == scope:
                return
            if any(map(self.program.knows, range(first, first + len(plan.bodies)))):
                raise BadSignature(f"scope {scope} of run {self.run_id}", "its plan is numbered like another")
            if self.program is self._planned:
                self.program = self._planned.own_copy()
            self.program.link(first, plan)
            self._owners[first] = scope

    def number(self, bodies: int) -> int:
        """Reserve numbers for the bodies of a plan that a piece made, and return the first one."""
        with self._lock:
            if self._free_numbers < bodies:
                self._free_numbers = max(bodies, _NUMBERS)
                self._next_number = self.store.machine.number(self.run_id, self._free_numbers)
            self._next_number, self._free_numbers = self._next_number + bodies, self._free_numbers - bodies
            return self._next_number - bodies

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep plans while a message is worked on; between messages those that are too many are forgotten."""
        with self._lock:
            if not self._handlers and len(self._owners) > _PLANS and not self.is_alone:
                self.forget()
            self._handlers += 1
        try:
            yield
        finally:
            with self._lock:
                self._handlers -= 1

    # -- addresses --------------------------------------------------------------------------------
    def address(self, scope: Scope, step: int, index: int = -1) -> str:
        """Return a piece's address as people read it: ``train[3]/fit[0]``."""
        path = self.path(scope)
        return path + self._name(scope, step, index) if step >= 0 else path.removesuffix("/")

    def path(self, scope: Scope) -> str:
        """Return the address in front of the names of a scope's steps: ``train[3]/``."""
        way = []
        while scope.id not in self._paths:
            way.append(scope)
            scope = self.scope(scope.parent)
        path = self._paths[scope.id]
        for inner in reversed(way):
            path += self._name(scope, inner.step, inner.index) + "/"
            scope = inner
            if len(self._paths) * len(path) > _PATH_CHARACTERS:
                self._paths = {ROOT: ""}
            self._paths[scope.id] = path
        return path

    def _name(self, scope: Scope, step: int, index: int) -> str:
        name = self.program.node_name(scope.body, step)
        return name if index < 0 or self.program.is_branch(scope.body, step) else f"{name}[{index}]"

    def piece_address(self, piece: str) -> str:
        """Return a piece's address as people read it, from its name in the store."""
        scope, step, index = PieceId.parse(piece)
        return self.address(self.scope(scope), step, index)

    def failure(self, piece: str) -> dict[str, Any] | None:
        """Return the error of a piece that has finally failed, as text, verified; None if it has not failed."""
        stored = self.store.reader.failure(self.run_id, piece)
        if stored is None:
            return None
        _, body = values.open_bytes(self.keyring, addresses.failure(self.run_id, piece), stored)
        return failures.decode(body)

    def count(self, scope: str, token: str) -> int:
        """Return the signed length of a split list that `token` names in `scope`."""
        scope, token = self.resolve(scope, token)
        counts = self._counts  # what is read now belongs to this generation, whatever this view enters meanwhile
        count = counts.get((scope, token))
        if count is None:
            stored = self.store.reader.values(self.run_id, scope, [token + "#"])[0]
            if stored is None:
                raise missing(self, scope, token)
            try:
                count = values.open_items(self.keyring, self.run_id, scope, token, stored)
            except UNREADABLE as error:
                raise located(self, error, scope, token) from error
            if len(counts) > 10_000:
                counts.clear()
            counts[scope, token] = count
        return count

    def resolve(self, scope: str, token: str) -> tuple[str, str]:
        """Follow the carets at the front of a token."""
        while token.startswith("^"):
            scope, token = self.scope(scope).parent, token[1:]
        return scope, token

    def codec(self, scope: str, token: str) -> Codec:
        """Return the codec of a value that `token` names right in `scope`."""
        return self.program.codec(self._codec_number(scope, token))

    def codec_kind(self, scope: str, token: str) -> str:
        """Return which codec that is, in a word: ``json``, ``pickle``."""
        return str(self.program.codec_specs[self._codec_number(scope, token)]["kind"])

    def _codec_number(self, scope: str, token: str) -> int:
        body = self.body(scope)
        if token.startswith("$"):
            return next(param.codec for param in body.params if param.name == token[1:])
        step, output = token.split(".")
        return body.steps[int(step)].outputs[int(output)].codec

    def list_over(self, scope: str, token: str) -> str | None:
        """Return the token that counts a list's items if `token` right in `scope` is stored in blocks, else None."""
        if token.startswith("$"):
            return None
        step_index, output = token.split(".")
        step = self.body(scope).steps[int(step_index)]
        if step.over is not None:
            return step.over
        return token if step.outputs[int(output)].split else None


E = TypeVar("E", bound=BadSignature | DeserializationError)


def named(view: RunView, scope: str, token: str, lo: int = -1, hi: int = -1) -> str:
    """Name what a token right in a scope stands for, or its elements ``[lo, hi)``."""
    place = view.scope(scope)
    at = "" if lo < 0 else f"[{lo}]" if hi - lo == 1 else f"[{lo}:{hi}]"
    if token.startswith("$"):
        around = view.path(place).removesuffix("/")
        owner = f" of node '{around}'" if around else ""
        return f"parameter '{token[1:]}'{at}{owner}"
    step, output = map(int, token.split("."))
    producer = view.program.step(place.body, step)
    address, name = view.address(place, step), producer.outputs[output].name
    if producer.over is not None:  # its items are pieces, which have addresses of their own
        return f"output '{name}' of node '{address}{at}'"
    return f"output '{name}'{at} of node '{address}'"


def located(view: RunView, error: E, scope: str, token: str, lo: int = -1, hi: int = -1) -> E:
    """Return the error of a stored value, with the name that people know it by in front of where it is stored.

    It is made only for an error: the names are of no use as long as values can be read.
    """
    try:
        place_name = f"{named(view, scope, token, lo, hi)} of run {view.run_id}"
    except (DagceleryError, LookupError, ValueError):
        return error  # a place that is not even in the plan
    if isinstance(error, BadSignature):
        return type(error)(f"{place_name} ({error.address})", error.reason)
    return type(error)(f"{place_name} ({error.culprit})", error.problem, error.remedy)


def missing(view: RunView, scope: str, token: str, lo: int = -1, hi: int = -1) -> DeserializationError:
    """Return the error of a value that is not there, or not any more."""
    culprit = f"value {token} of scope {scope}"
    if _is_freed(view, scope, token):
        problem = 'it was freed when its last reader had finished, because its DAG says keep="outputs"'
        error: DeserializationError = ValueFreed(culprit, problem, "return it from the DAG, or keep everything")
    else:
        remedy = "results live as long as DAGCELERY_TTL_SECONDS says; run the DAG again"
        error = DeserializationError(culprit, "it is not in the store", remedy)
    return located(view, error, scope, token, lo, hi)


def _is_freed(view: RunView, scope: str, token: str) -> bool:
    if not view.program.frees or scope != ROOT:
        return view.program.frees
    step = step_of(token)
    return step is not None and not topology(view.program.plan)[0][step].is_returned


def prefixes(plan: Plan) -> dict[int, str]:
    """Return the prefix of nodes' names, by body: ``train[*]/`` in a mapped DAG, ``then/`` in a branch."""
    prefixes = {0: ""}
    for number, body in enumerate(plan.bodies):
        for step in body.steps:
            if step.kind == "dag":
                prefixes[step.target] = (
                    prefixes.get(number, "") + f"{step.name}{'' if 'branch' in step.options else '[*]'}/"
                )
    return prefixes
