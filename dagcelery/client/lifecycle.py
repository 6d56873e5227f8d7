"""Runs that are ended from outside, and taken up again."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

from dagcelery.client.places import find_place
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView
from dagcelery.errors import (
    CodeMismatch,
    CodeUnknown,
    DagceleryError,
    FunctionNotFound,
    NotResumable,
    RunNotFound,
)
from dagcelery.payload import functions
from dagcelery.payload.functions import code_hash, is_comparable, same_code, why_not_comparable
from dagcelery.planner.plan import FunctionSpec
from dagcelery.store.records import Lost, Spot

_ALL_THE_SAME = "to go on anyway, pass allow_code_change=True, or dagcelery resume --allow-code-change"


def cancel(control: RunControl, run_id: str, reason: str, *, terminate: bool) -> str:
    """End a run that is not over as cancelled, and revoke the messages that work on it; return its state."""
    working = control.store.reader.messages(run_id)
    reply = control.store.machine.end(run_id, "cancelled", reason)
    if reply.run == "gone":
        raise RunNotFound(run_id)
    if reply.run == "cancelled":
        control.sender.revoke(working, terminate=terminate)
        control.ended(run_id, reply.opened, reply.run, reply.lasted)
    return reply.run


def resume(control: RunControl, run_id: str, deadline_seconds: float | None, *, allow_code_change: bool) -> None:
    """Let a run that failed, was cancelled or timed out go on where it stopped.

    Raises RunNotFound, NotResumable, CodeMismatch, CodeUnknown.
    """
    record = control.record(run_id)
    if not record.is_over or record.state == "done":
        raise NotResumable(run_id, record.state)
    _go_on(control, run_id, deadline_seconds, allow_code_change=allow_code_change)


def retry_from(
    control: RunControl, run_id: str, address: str, deadline_seconds: float | None, *, allow_code_change: bool
) -> None:
    """Execute a node, or items of it, of a run that is over again, and all that depends on it.

    Raises what `resume` does, and InvalidParameters.
    """
    record, view = control.record(run_id), control.view(run_id)
    view.look(record.epoch)
    place = find_place(view, address)
    if not record.is_over:
        raise NotResumable(run_id, record.state)
    _go_on(control, run_id, deadline_seconds, allow_code_change=allow_code_change, cleared=[place])


def _go_on(
    control: RunControl,
    run_id: str,
    deadline_seconds: float | None,
    *,
    allow_code_change: bool,
    cleared: Sequence[Spot] = (),
) -> None:
    """Clear places, open a new epoch of a run, and send messages for what is ready then."""
    view, machine = control.view(run_id), control.store.machine
    if not allow_code_change and control.settings.code_mismatch != "ignore":
        check_code(view, control.imports)
    is_cleared = not cleared or machine.clear(run_id, cleared)
    if not is_cleared or not machine.resume(run_id, deadline_seconds):
        raise NotResumable(run_id, control.record(run_id).state)
    if not control.quotas.enter(view):
        machine.admit(run_id, still="limit")
    swept = machine.sweep(run_id, Lost(), control.settings.dead_seconds, control.settings.max_deaths)
    for queue in swept.wake_ups:
        messages = machine.wake_ups(run_id, queue, control.sender.slots(queue))
        control.sender.wake_up(run_id, queue, max(1, messages))


def check_code(view: RunView, imports: Collection[str]) -> None:
    """Refuse to mix results of old code with those of new: compare the functions of this process with the plan's.

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
        here = code_hash(functions.load(spec, imports=imports, keyring=view.keyring))
    except DagceleryError as error:
        reason = error.reason if isinstance(error, FunctionNotFound) else str(error)
        raise CodeUnknown(name, spec.hash, reason, _ALL_THE_SAME) from error
    if not is_comparable(spec.hash, here):
        raise CodeUnknown(name, spec.hash, why_not_comparable(spec.hash, spec.python), _ALL_THE_SAME)
    if not same_code(spec.hash, here):
        raise CodeMismatch(name, spec.hash, here, _ALL_THE_SAME)
