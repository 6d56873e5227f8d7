"""Celery's signals for each piece, where anybody listens: Django closes stale connections there, tracers open spans."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import signals
from celery.app.task import Context

from dagcelery.runtime.reading import RunView
from dagcelery.store.records import Claim

_SIGNALS = (
    signals.task_prerun,
    signals.task_postrun,
    signals.task_success,
    signals.task_failure,
    signals.task_retry,
)


def _raised(error: BaseException) -> TracebackType | None:
    """Return a traceback for an error that was never raised, as those of poisoned pieces: listeners expect one."""
    with suppress(type(error)):
        raise error
    return error.__traceback__


class Sender(str):
    """A piece as a signal's sender: it equals its name ``dag.node``, and has a task's name and request."""

    __slots__ = ("request",)
    request: Context

    @property
    def name(self) -> str:
        """``dag.node``, as a Celery task has its name."""
        return str(self)


class Signals:
    """Fires the signals of the pieces of one grant; they hold no value."""

    def __init__(self, view: RunView, grant: Claim) -> None:
        self._view = view
        self._grant = grant
        self._name = shown_name(view, grant)
        self._told: BaseException | None = None
        self._failed_at = -1
        # Only the store knows whether it is tried again.
        self._may_retry = "retry" in view.program.step(grant.scope.body, grant.step).options

    def before(self, index: int) -> None:
        """A function is about to be called."""
        if signals.task_prerun.receivers:
            sender, about = self._about(index)
            signals.task_prerun.send(sender=sender, task=sender, **about)

    def after(self, index: int, error: BaseException | None) -> None:
        """A function has returned, or raised."""
        if error is not None:
            self.failed(index, error)
        elif signals.task_success.receivers:
            signals.task_success.send(sender=self._about(index)[0], result=None)
        if signals.task_postrun.receivers:
            sender, about = self._about(index)
            state = "SUCCESS" if error is None else "RETRY" if self._may_retry else "FAILURE"
            signals.task_postrun.send(sender=sender, task=sender, retval=None, state=state, **about)

    def failed(self, index: int, error: BaseException) -> None:
        """A piece has failed; not only functions fail, what they return may be refused. Each error is told once."""
        if error is self._told:
            return
        self._told, self._failed_at = error, index
        if not self._may_retry:
            self._fire(error, index, "committed")

    def settled(self, state: str) -> None:
        """What the store made of a failure that may be retried: it stands, or the piece is "retried"."""
        if self._told is not None and self._may_retry and state != "stale":
            self._fire(self._told, self._failed_at, state)
            self._told = None

    def _fire(self, error: BaseException, index: int, state: str) -> None:
        sender, about = self._about(index)
        trace = error.__traceback__ or _raised(error)
        einfo = ExceptionInfo((type(error), error, trace))
        if state == "retried":
            signals.task_retry.send(sender=sender, request=sender.request, reason=error, einfo=einfo)
        else:
            signals.task_failure.send(sender=sender, exception=error, traceback=trace, einfo=einfo, **about)

    def _about(self, index: int) -> tuple[Sender, dict[str, Any]]:
        sender, kwargs = Sender(self._name), shown_kwargs(self._view, self._grant, index)
        task_id = uuid_of(self._view, self._grant, index)
        retries = self._grant.attempt - 1
        sender.request = Context(id=task_id, task=self._name, args=(), kwargs=kwargs, retries=retries, is_eager=False)
        return sender, {"task_id": task_id, "args": (), "kwargs": kwargs}


def signals_of(view: RunView, grant: Claim) -> Signals | None:
    """What fires a grant's signals; None where nobody listens, or no function is called."""
    if grant.step < 0 or not any(signal.receivers for signal in _SIGNALS):
        return None
    return Signals(view, grant) if view.program.step(grant.scope.body, grant.step).kind == "task" else None


def shown_name(view: RunView, grant: Claim) -> str:
    """``dag.node``: few different names, because they are labels of metrics too."""
    return f"{view.program.plan.name}.{view.program.node_name(grant.scope.body, grant.step)}"


def uuid_of(view: RunView, grant: Claim, index: int) -> str:
    """An id for one execution of a piece."""
    item = "" if index < 0 else f"-{index}"
    return f"{view.run_id}-{grant.scope.id}-{grant.step}{item}-{grant.attempt}"


def shown_kwargs(view: RunView, grant: Claim, index: int) -> dict[str, Any]:
    """What is shown as a piece's arguments: run, node and index, never a value."""
    about: dict[str, Any] = {"run": view.run_id, "node": view.address(grant.scope, grant.step)}
    return about if index < 0 else about | {"index": index}
