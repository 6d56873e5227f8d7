"""How a run is ended from outside, and taken up again; what went wrong in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from dagcelery.engine.run_view import RunView
from dagcelery.engine.worker_loop import Engine
from dagcelery.errors import (
    BadSignature,
    CodeMismatch,
    CodeUnknown,
    DagceleryError,
    FunctionNotFound,
    InvalidParameters,
    NotResumable,
    RunNotFound,
)
from dagcelery.payload import addresses, failures, functions, values
from dagcelery.payload.functions import code_hash, is_comparable, same_code, why_not_comparable
from dagcelery.planner.plan import FunctionSpec
from dagcelery.store.records import Lost, PieceId
from dagcelery.text import nearest

_ALL_THE_SAME = "to go on all the same, say allow_code_change=True, or dagcelery resume --allow-code-change"


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that failed: `stands` if nothing was tried after it. `traceback` is the remote one, as text."""

    address: str
    attempt: int
    type_name: str
    message: str
    traceback: str
    stands: bool


def cancel(engine: Engine, run_id: str, reason: str, *, terminate: bool) -> str:
    """End a run that is not over as cancelled, and revoke the messages that work on it; answers its state."""
    working = engine.store.reader.messages(run_id)
    reply = engine.store.machine.end(run_id, "cancelled", reason)
    if reply.run == "gone":
        raise RunNotFound(run_id)
    if reply.run == "cancelled":
        engine.sender.revoke(working, terminate=terminate)
        engine.ended(run_id, reply.opened, reply.run, reply.lasted)
    return reply.run


def resume(engine: Engine, run_id: str, deadline_seconds: float | None, *, allow_code_change: bool) -> None:
    """Let a run that failed, was cancelled or timed out go on where it stopped. NotResumable, CodeMismatch."""
    record = engine.store.reader.record(run_id)
    if record is None:
        raise RunNotFound(run_id)
    if not record.is_over or record.state == "done":
        raise NotResumable(run_id, record.state)
    view = engine.view(run_id)
    if not allow_code_change and engine.settings.code_mismatch != "ignore":
        check_code(view, engine.imports)
    _go_on(engine, view, deadline_seconds)


def retry_from(
    engine: Engine, run_id: str, node: str, deadline_seconds: float | None, *, allow_code_change: bool
) -> None:
    """Execute a node of a run that is over again, and all that depends on it. As `resume`, and InvalidParameters."""
    record = engine.store.reader.record(run_id)
    if record is None:
        raise RunNotFound(run_id)
    view = engine.view(run_id)
    step = _root_step(view, node)
    if not record.is_over:
        raise NotResumable(run_id, record.state)
    if not allow_code_change and engine.settings.code_mismatch != "ignore":
        check_code(view, engine.imports)
    if not engine.store.machine.clear(run_id, [step]):
        raise NotResumable(run_id, _state(engine, run_id))
    _go_on(engine, view, deadline_seconds)


def _root_step(view: RunView, node: str) -> int:
    names = [step.name for step in view.program.body(0).steps]
    if node in names:
        return names.index(node)
    culprit = f"node {node!r} of '{view.program.plan.name}'"
    outermost = next((name for name in names if str(node).startswith((f"{name}[", f"{name}/"))), None)
    if outermost is not None:
        wrong = "is one item, or lies inside of a branch, or of a DAG that is mapped or was made while the run went on"
        raise InvalidParameters(culprit, wrong, f"name the outermost node, '{outermost}'")
    right = nearest(node, names) or "give the name of a node as status() shows it"
    raise InvalidParameters(culprit, "there is no such node", right)


def _state(engine: Engine, run_id: str) -> str:
    record = engine.store.reader.record(run_id)
    if record is None:
        raise RunNotFound(run_id)
    return record.state


def _go_on(engine: Engine, view: RunView, deadline_seconds: float | None) -> None:
    """Open a new epoch of a run, and send messages for what is ready then."""
    run_id = view.run_id
    if not engine.store.machine.resume(run_id, deadline_seconds):
        raise NotResumable(run_id, _state(engine, run_id))
    if not engine.quotas.enter(view):
        engine.store.machine.admit(run_id, still="limit")
    swept = engine.store.machine.sweep(run_id, Lost(), engine.settings.dead_seconds, engine.settings.max_deaths)
    for queue in swept.wake_ups:
        engine.sender.wake_up(
            run_id, queue, max(1, engine.store.machine.wake_ups(run_id, queue, engine.sender.slots(queue)))
        )


def check_code(view: RunView, imports: Collection[str]) -> None:
    """Refuse to mix results of old code with those of new: compare what this process has with what was planned, by
    pieces of the run too.

    A function that cannot be looked at here is refused as well. The road not taken is to leave it to the workers: they
    warn in their logs at best, once the results are mixed. Functions by value travel with their plan, and those without
    a hash are dagcelery's own.
    """
    if view.program.may_grow:
        progress = view.store.reader.progress(view.run_id)
        grown = sorted(body for body in progress.scopes if not view.is_planned(body)) if progress else []
        deque(view.scopes_of(grown), maxlen=0)  # has their plans at hand
    for spec in view.program.function_specs:
        if spec.module and spec.hash:
            _check_function(view, spec, imports)


def _check_function(view: RunView, spec: FunctionSpec, imports: Collection[str]) -> None:
    name = f"{spec.module}:{spec.qualname}"
    try:
        found = code_hash(functions.load(spec, imports=imports, keyring=view.keyring))
    except DagceleryError as error:
        reason = error.reason if isinstance(error, FunctionNotFound) else str(error)
        raise CodeUnknown(name, spec.hash, reason, _ALL_THE_SAME) from error
    if not is_comparable(spec.hash, found):
        raise CodeUnknown(name, spec.hash, why_not_comparable(spec.hash, spec.python), _ALL_THE_SAME)
    if not same_code(spec.hash, found):
        raise CodeMismatch(name, spec.hash, found, _ALL_THE_SAME)


def errors(engine: Engine, run_id: str) -> Iterator[Failure]:
    """Every attempt that failed, those that were repeated too, as far as they are kept; oldest attempts first."""
    record = engine.store.reader.record(run_id)
    if record is None:
        raise RunNotFound(run_id)
    view = engine.view(run_id)
    view.look(record.epoch)
    found = []
    for name, stored in engine.store.reader.failures(run_id).items():
        piece = PieceId.parse(name).name
        attempt, body = values.open_bytes(engine.keyring, addresses.failure(run_id, piece), stored)
        error = failures.decode(bytes(body))
        found.append(
            Failure(
                _address(view, piece),
                attempt,
                error["type"],
                error["message"],
                error["traceback"],
                "@" not in name,
            )
        )
    yield from sorted(found, key=lambda failure: (failure.address, failure.attempt))


def _address(view: RunView, piece: str) -> str:
    try:
        return view.piece_address(piece)
    except (BadSignature, IndexError):  # a rewind took its scope back, and there may be another graph now
        return "(taken back)"
