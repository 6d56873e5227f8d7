"""What hears of pieces: one listener of the process, and the functions that tasks and DAGs name as hooks.

Neither can change an outcome. A listener's errors and a hook's are logged, and whatever they set in their context is
gone afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dagcelery.engine.interrupts import tell, tell_apart
from dagcelery.engine.run_view import RunView
from dagcelery.errors import BadSignature, StoreUnavailable
from dagcelery.payload import failures
from dagcelery.settings import Settings
from dagcelery.store.records import CLOSE, Claim, Response, RunRecord, TaskResult


class Listener:
    """Hears of calls, pieces and runs. This one ignores everything; subclasses override what they need.

    `index` is the item's number, or -1 for a step that runs once.
    """

    def hears_calls(self, view: RunView, claim: Claim) -> bool:
        """Return whether `before` and `after` are wanted for this claim; each of them costs time per item."""
        return False

    def before(self, view: RunView, claim: Claim, index: int) -> None:
        """Hear that a function is about to be called, in the context of its piece."""

    def after(self, view: RunView, claim: Claim, index: int, error: BaseException | None) -> None:
        """Hear that a function has returned or raised, in the context of its piece."""

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        """Hear what the store made of a result; of a call that failed, in the context of its piece.

        Return whether the result's error is kept, frames and all.
        """
        return False

    def run_ended(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        """Hear that this process has ended a run."""


class Listeners(Listener):
    """Several listeners as one. They hear of a call in this order, and of its end in the other one."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._asked = threading.local()

    def hears_calls(self, view: RunView, claim: Claim) -> bool:
        """Return whether any of them wants to hear of this claim's calls."""
        hearing = [each for each in self._listeners if tell(each.hears_calls, view, claim)]
        self._asked.last = claim, hearing
        return bool(hearing)

    def before(self, view: RunView, claim: Claim, index: int) -> None:
        """Pass it on to those who want to hear of it."""
        for each in self._hearing(view, claim):
            tell(each.before, view, claim, index)

    def after(self, view: RunView, claim: Claim, index: int, error: BaseException | None) -> None:
        """Pass it on to those who want to hear of it."""
        for each in reversed(self._hearing(view, claim)):
            tell(each.after, view, claim, index, error)

    def _hearing(self, view: RunView, claim: Claim) -> list[Listener]:
        """Return who wants to hear of a claim's calls: they were asked before the first one, in this thread."""
        if getattr(self._asked, "last", (None,))[0] is not claim:
            self.hears_calls(view, claim)
        hearing: list[Listener] = self._asked.last[1]
        return hearing

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        """Pass it on to all; the error is kept if any of them keeps it."""
        is_kept = [tell(each.ended, view, claim, result, response) for each in reversed(self._listeners)]
        return any(is_kept)

    def run_ended(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        """Pass it on to all."""
        for each in self._listeners:
            tell(each.run_ended, run_id, dag, state, seconds)


def calls_task(view: RunView, claim: Claim) -> bool:
    """Return whether a claim calls a task's function: only such pieces are told of, one by one, to those outside."""
    program, body = view.program, claim.scope.body
    return claim.step >= 0 and program.knows(body) and program.step(body, claim.step).kind == "task"


def seconds_each(claim: Claim, result: TaskResult) -> float:
    """Return how long each piece of a claim took."""
    return result.seconds / max(1, result.done - claim.lo)


@dataclass(frozen=True, slots=True)
class Notice:
    """The argument of a hook: `state` is the run's, or of a piece "done", "failed" or "retried".

    `address` is the piece's, or of a failed run that of the node which failed it; `error` is its type and message, as
    text, or why a run was cancelled, and `traceback` where it was raised. `epoch` counts from 1 and rises when a run is
    resumed. `key` is what the run was submitted with, and `params` are its parameters as people are shown them.
    """

    run_id: str
    name: str
    state: str
    address: str = ""
    error: str = ""
    attempt: int = 0
    epoch: int = 1
    traceback: str = ""
    key: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)


_settings: Final[ContextVar[Settings]] = ContextVar("dagcelery_hook_settings")


def settings_here() -> Settings:
    """Return the settings of the process that calls a hook; outside of a hook, those of the environment."""
    return _settings.get(None) or Settings.from_environment()


def call_dag_hook(view: RunView, settings: Settings) -> None:
    """Call the function that a DAG names for its end."""
    record = view.store.reader.record(view.run_id)
    if record is None:
        return
    options = view.program.plan.options
    hook = view.program.hook(options, "success" if record.state == "done" else "failure")
    if hook is None:
        return
    address = view.piece_address(record.failed) if record.failed else ""
    error, traceback = _failure(view, record.failed) if record.failed else (record.reason, "")
    notice = Notice(view.run_id, record.name, record.state, address, error, epoch=record.epoch, traceback=traceback)
    _call(hook, _with_record(notice, record), settings)


def _failure(view: RunView, piece: str) -> tuple[str, str]:
    try:
        described = view.failure(piece)
    except BadSignature as refused:
        return f"its error cannot be shown: {refused.reason}", ""
    return _told(described) if described else ("", "")


def call_task_hooks(view: RunView, claim: Claim, result: TaskResult, state: str, settings: Settings) -> None:
    """Call the functions that a task names for its pieces that were committed, have failed, or are tried again.

    It happens in the process that ran the pieces, after the store knows; a process that dies in between calls nothing.
    """
    if state == "stale" or result.children is not None:
        return
    if claim.step == CLOSE and result.error is None:
        claim = _closed(view, claim)
        result = replace(result, done=claim.hi)
    if claim.step < 0:
        return
    options = view.program.step(claim.scope.body, claim.step).options
    hook = view.program.hook(options, "success")
    if hook is not None:
        succeeded = range(claim.lo, result.done) if claim.lo >= 0 else [] if result.error else [-1]
        for index in succeeded:
            _call(hook, _of_piece(view, claim, index, "done"), settings)
    if result.error is not None:
        state = "retried" if state == "retried" else "failed"
        hook = view.program.hook(options, "retry" if state == "retried" else "failure")
        if hook is not None:
            _call(hook, _of_piece(view, claim, result.done if claim.lo >= 0 else -1, state, result.error), settings)


def _closed(view: RunView, claim: Claim) -> Claim:
    """Return the piece that is done when this scope closes, if it made the scope's plan itself."""
    scope = claim.scope
    parent = view.scope(scope.parent)
    if view.program.step(parent.body, scope.step).kind != "task":
        return claim
    upto = scope.index + (scope.index >= 0)
    return replace(claim, scope=parent, step=scope.step, lo=scope.index, hi=upto)


def _of_piece(view: RunView, claim: Claim, index: int, state: str, error: BaseException | None = None) -> Notice:
    message, traceback = ("", "") if error is None else _told(failures.describe(error))
    address = view.address(claim.scope, claim.step, index)
    notice = Notice(view.run_id, view.program.plan.name, state, address, message, claim.attempt, traceback=traceback)
    try:
        record = view.record()
    except StoreUnavailable:  # what there is to say is more important
        record = None
    return notice if record is None else _with_record(notice, record)


def _told(described: Mapping[str, str]) -> tuple[str, str]:
    """Return type and message of an error, and its traceback."""
    return f"{described['type']}: {described['message']}".removesuffix(": "), described["traceback"]


def _with_record(notice: Notice, record: RunRecord) -> Notice:
    return replace(notice, epoch=record.epoch, key=record.key, params=record.shown)


def _call(hook: Callable[..., Any], notice: Notice, settings: Settings) -> None:
    about = {"action": "hook_failed", "run": notice.run_id}
    before = _settings.set(settings)
    try:
        tell_apart(hook, notice, culprit=f"a hook of run {notice.run_id} ({notice.state})", about=about)
    finally:
        _settings.reset(before)
