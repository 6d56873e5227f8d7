"""What users want to be called with when something has happened: a DAG's end, or a task's success, failure or retry."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dagcelery.payload import failures
from dagcelery.runtime.interrupts import is_leaving
from dagcelery.runtime.reading import RunView
from dagcelery.runtime.telling import quiet_logger
from dagcelery.store.records import CLOSE, Claim

if TYPE_CHECKING:
    from dagcelery.runtime.execution import Executed

log = quiet_logger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """What a hook is told: `state` is the run's, or of a piece "done", "failed" or "retried".

    `address` is the piece's, or of a failed run that of the node which failed it; `error` is its type and message, as
    text. `epoch` counts from 1 and rises when a run is resumed.
    """

    run_id: str
    name: str
    state: str
    address: str = ""
    error: str = ""
    attempt: int = 0
    epoch: int = 1


def call_dag_hook(view: RunView) -> None:
    """Call what a DAG wants to be called at its end. An error of it is logged, and changes nothing."""
    record = view.store.reader.record(view.run_id)
    if record is None:
        return
    options = view.program.plan.options
    hook = view.program.hook(options, "success" if record.state == "done" else "failure")
    if hook is None:
        return
    address = view.piece_address(record.failed) if record.failed else ""
    error = "" if record.failed else record.reason
    quietly(hook, Notice(view.run_id, record.name, record.state, address, error, epoch=record.epoch))


def call_task_hooks(view: RunView, grant: Claim, executed: Executed, state: str) -> None:
    """Call what a task wants to be called for its pieces that were committed, have failed, or are tried again.

    In the process that ran them, after the store knows: a process that dies in between calls nothing.
    """
    if state == "stale" or executed.children is not None:
        return
    if grant.step == CLOSE and executed.error is None:
        grant = _closed(view, grant)
        executed = replace(executed, outcome=replace(executed.outcome, done=grant.hi))
    if grant.step < 0:
        return
    options = view.program.step(grant.scope.body, grant.step).options
    done, hook = executed.outcome.done, view.program.hook(options, "success")
    if hook is not None:
        succeeded = range(grant.lo, done) if grant.lo >= 0 else [] if executed.error else [-1]
        for index in succeeded:
            quietly(hook, _of_piece(view, grant, index, "done"))
    if executed.error is not None:
        state = "retried" if state == "retried" else "failed"
        hook = view.program.hook(options, "retry" if state == "retried" else "failure")
        if hook is not None:
            quietly(hook, _of_piece(view, grant, done if grant.lo >= 0 else -1, state, executed.error))


def _closed(view: RunView, grant: Claim) -> Claim:
    """The piece that is done when this scope closes, if it made the scope's plan itself."""
    scope = grant.scope
    parent = view.scope(scope.parent)
    if view.program.step(parent.body, scope.step).kind != "task":
        return grant
    upto = scope.index + (scope.index >= 0)
    return replace(grant, scope=parent, step=scope.step, lo=scope.index, hi=upto)


def _of_piece(view: RunView, grant: Claim, index: int, state: str, error: BaseException | None = None) -> Notice:
    address = view.address(grant.scope, grant.step, index)
    message = "" if error is None else f"{type(error).__qualname__}: {failures.message(error)}"
    return Notice(view.run_id, view.program.plan.name, state, address, message, grant.attempt)


def quietly(hook: Callable[..., Any], notice: Notice) -> None:
    """Call a hook; its own failure is logged and harmless."""
    try:
        copy_context().run(hook, notice)
    except BaseException as error:
        if is_leaving(error):
            raise
        about = {"action": "hook_failed", "run": notice.run_id}
        log.exception("a hook of run %s failed (%s)", notice.run_id, notice.state, extra=about)
