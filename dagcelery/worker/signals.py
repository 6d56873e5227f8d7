"""News of pieces for others: the worker's log, Celery's signals, and events for Flower.

A line names run and node and never shows an argument. Its ``extra`` has the same for programs: `run`, `dag`, `node`,
`item` (and `index`, as `PieceFilter` has it), `attempt`, `queue` and `action`. No line asks the store for anything but
the place of a scope, and none is made for a level that is off.

Many pieces share a message, so the message's own events would say little. Each piece gets its own: its name is
``dag.node``, its kwargs name run, node and index and never hold a value. A fan-out of more than 1,000 items is shown
range by range.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

from billiard.einfo import ExceptionInfo
from celery import Celery, signals
from celery.app.task import Context
from celery.utils.nodenames import default_nodename

from dagcelery.engine.hooks import Listener, seconds_each
from dagcelery.engine.interrupts import quiet_logger, tell
from dagcelery.engine.pieces import PieceFilter, TailHandler, keep_tails_of
from dagcelery.engine.run_view import RunView
from dagcelery.payload import failures
from dagcelery.store.records import CLOSE, Claim, Completed, PieceId, Response, Scope, TaskResult
from dagcelery.worker.messages import LINK, WORK

log = quiet_logger(__name__)

_CELERYS: Final = ("celery.worker.strategy", "celery.app.trace")


def report_piece(view: RunView, claim: Claim, result: TaskResult, response: Response) -> None:
    """Log that a piece failed, or that a node has ended with it."""
    if result.error is not None:
        _report_failure(view, claim, result, result.error, response)
    if not log.isEnabledFor(logging.INFO):
        return
    for done in response.completed:
        _report_fan_out(view, view.scope(done.scope), done)
    if result.error is None and result.children is None and view.program.knows(claim.scope.body):
        scope, step = claim.scope, claim.step
        if step == CLOSE:
            scope, step, index = view.scope(scope.parent), scope.step, scope.index
            is_once = index < 0
        else:
            is_once = claim.lo < 0 and step >= 0
        if is_once:
            _report_end(view, scope, step, f"in {result.seconds:.3f} s", claim.attempt)


def _report_failure(view: RunView, claim: Claim, result: TaskResult, error: BaseException, response: Response) -> None:
    index = result.done if claim.lo >= 0 else -1
    node, summary = _address(view, claim, index), f"{type(error).__qualname__}: {failures.message(error)}"
    about = _about(view, claim.scope, claim.step, node, index, claim.attempt)
    if response.state == "retried":
        again = "run %s: %s failed in attempt %d (%s); attempt %d is due in %.1f s"
        seconds = response.retry_seconds or 0.0
        extra = about | {"action": "retried", "retry_seconds": seconds}
        log.warning(again, view.run_id, node, claim.attempt, summary, claim.attempt + 1, seconds, extra=extra)
    elif response.state == "skipped":
        extra = about | {"action": "skipped"}
        item = view.piece_address(response.skipped) if response.skipped else node
        left_out = "is left out" if item == node else f"{item} is left out"
        log.warning("run %s: %s failed, and %s (%s)", view.run_id, node, left_out, summary, extra=extra)
    else:
        extra = about | {"action": "failed"}
        failed = "run %s: %s failed in attempt %d (%s)"
        if isinstance(error, failures.Masked):
            text = error.described["traceback"].rstrip()
            log.error(f"{failed}\n%s", view.run_id, node, claim.attempt, summary, text, extra=extra)
        else:
            log.error(failed, view.run_id, node, claim.attempt, summary, exc_info=error, extra=extra)


def _report_fan_out(view: RunView, scope: Scope, done: Completed) -> None:
    left_out = f", {done.skipped} left out" if done.skipped else ""
    _report_end(view, scope, done.step, f"{done.items} items{left_out}", None)


def _report_end(view: RunView, scope: Scope, step: int, how: str, attempt: int | None) -> None:
    """Say that a node has ended. Within an item of a mapped DAG this is logged at DEBUG."""
    ended = view.program.step(scope.body, step)
    if ended.kind not in ("task", "dag") or view.program.is_branch(scope.body, step):
        return
    node = view.address(scope, step)
    level = logging.DEBUG if "[" in node else logging.INFO
    if log.isEnabledFor(level):
        extra = _about(view, scope, step, node, -1, attempt) | {"action": "node_done"}
        log.log(level, "run %s: node %s is done (%s)", view.run_id, node, how, extra=extra)


def report_run(run_id: str, dag: str, state: str, seconds: float) -> None:
    """Log the end of a run, in the process that has ended it."""
    about = {"action": "run_ended", "run": run_id, "dag": dag, "state": state, "seconds": seconds}
    how = state.replace("_", " ")
    log.info("run %s of %s ended as %s after %.3f s", run_id, dag, how, seconds, extra=about)


def _about(view: RunView, scope: Scope, step: int, node: str, index: int, attempt: int | None) -> dict[str, Any]:
    queue = view.program.step(scope.body, step).queue if step >= 0 and view.program.knows(scope.body) else ""
    item = None if index < 0 else index
    about = {"run": view.run_id, "dag": view.program.plan.name, "node": node, "item": item, "index": item}
    return about | {"attempt": attempt, "queue": queue}


def _address(view: RunView, claim: Claim, index: int) -> str:
    return view.address(claim.scope, claim.step, index) if view.program.knows(claim.scope.body) else claim.piece


class OwnMessages(logging.Filter):
    """Lowers what Celery says of our two tasks to DEBUG: a message says little, since many pieces share it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all other records pass as they are."""
        about = getattr(record, "data", None)
        if record.levelno != logging.INFO or not isinstance(about, dict) or about.get("name") not in (WORK, LINK):
            return True
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


FORMATS: Final = {
    "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s": (
        "[%(asctime)s: %(levelname)s/%(processName)s]%(piece)s %(message)s"
    ),
    "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s": (
        "[%(asctime)s: %(levelname)s/%(processName)s]%(piece)s %(task_name)s[%(task_id)s]: %(message)s"
    ),
}
"""Celery's own formats, and the same with the piece in them."""


def show_pieces() -> None:
    """Let the lines of this process's log say which piece wrote them, where they have Celery's own format.

    A setting for the format would not do: Celery also uses it where records have no piece.
    """
    for handler in (*logging.getLogger().handlers, *logging.getLogger("celery.task").handlers):
        if isinstance(handler, TailHandler):
            continue
        if not any(isinstance(known, PieceFilter) for known in handler.filters):
            handler.addFilter(PieceFilter())
        formatter = handler.formatter
        if formatter is not None and formatter._fmt in FORMATS:
            changed = copy.copy(formatter)
            logging.Formatter.__init__(changed, FORMATS[formatter._fmt], formatter.datefmt)
            handler.setFormatter(changed)


def keep_tails() -> None:
    """Keep the last lines of pieces in this process, those of Celery's loggers for tasks too.

    A logger without a handler is left without: Python writes what nobody handles to stderr.
    """
    tasks = logging.getLogger("celery.task")
    for logger in (logging.getLogger(), *(() if tasks.propagate else (tasks,))):
        if logger.handlers:
            keep_tails_of(logger)


def lower_own_messages() -> None:
    """Let Celery's own lines on our messages be DEBUG in this process, whatever the app."""
    for name in _CELERYS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, OwnMessages) for known in logger.filters):
            logger.addFilter(OwnMessages())


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


class PieceSender(str):
    """A piece as a signal's sender: it equals its name ``dag.node``, and has a task's name and request."""

    __slots__ = ("request",)
    request: Context

    @property
    def name(self) -> str:
        """``dag.node``, as a Celery task has its name."""
        return str(self)


class Announcer(Listener):
    """Fires Celery's signals around calls, and logs what came of pieces. None of it holds a value."""

    def __init__(self, app: Celery) -> None:
        self._events = Batches(app) if os.environ.get(ENABLED) else None

    def hears_calls(self, view: RunView, claim: Claim) -> bool:
        """Return whether signals of this claim have receivers: only steps that call a function have signals."""
        if claim.step < 0 or not any(signal.receivers for signal in _SIGNALS):
            return False
        return view.program.step(claim.scope.body, claim.step).kind == "task"

    def before(self, view: RunView, claim: Claim, index: int) -> None:
        """Fire `task_prerun`."""
        if signals.task_prerun.receivers:
            sender, about = _signalled(view, claim, index)
            signals.task_prerun.send(sender=sender, task=sender, **about)

    def after(self, view: RunView, claim: Claim, index: int, error: BaseException | None) -> None:
        """Fire `task_success` or `task_failure`, then `task_postrun`."""
        if error is not None:
            self.failed(view, claim, index, error)
        elif signals.task_success.receivers:
            signals.task_success.send(sender=_signalled(view, claim, index)[0], result=None)
        if signals.task_postrun.receivers:
            sender, about = _signalled(view, claim, index)
            state = "SUCCESS" if error is None else "RETRY" if _may_retry(view, claim) else "FAILURE"
            signals.task_postrun.send(sender=sender, task=sender, retval=None, state=state, **about)

    def failed(self, view: RunView, claim: Claim, index: int, error: BaseException) -> None:
        """Fire `task_failure`. Only the store knows whether a task with a policy is tried again: `ended` fires then."""
        if not _may_retry(view, claim):
            _fire_failure(view, claim, index, error, "committed")

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        """Log, and send events of, pieces that were committed, have failed, or will be tried again."""
        if response.state == "stale":
            return False
        is_known = view.program.knows(claim.scope.body)
        if result.error is not None and is_known and self.hears_calls(view, claim) and _may_retry(view, claim):
            index = result.done if claim.lo >= 0 else -1
            tell(_fire_failure, view, claim, index, result.error, response.state)
        report_piece(view, claim, result, response)
        if self._events is not None and is_known and claim.step >= 0 and result.children is None:
            for event in events_of(view, claim, result, is_retried=response.state == "retried"):
                self._events.add(*event)
        return False

    def run_ended(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        """Log the end of a run."""
        report_run(run_id, dag, state, seconds)


def _may_retry(view: RunView, claim: Claim) -> bool:
    return view.program.may_retry and "retry" in view.program.step(claim.scope.body, claim.step).options


def _fire_failure(view: RunView, claim: Claim, index: int, error: BaseException, state: str) -> None:
    sender, about = _signalled(view, claim, index)
    trace = error.__traceback__ or _raised(error)
    einfo = ExceptionInfo((type(error), error, trace))
    if state == "retried":
        signals.task_retry.send(sender=sender, request=sender.request, reason=error, einfo=einfo)
    else:
        signals.task_failure.send(sender=sender, exception=error, traceback=trace, einfo=einfo, **about)


def _signalled(view: RunView, claim: Claim, index: int) -> tuple[PieceSender, dict[str, Any]]:
    """Return a signal's sender, and its other arguments."""
    name, kwargs, task_id = shown_name(view, claim), shown_kwargs(view, claim, index), uuid_of(view, claim, index)
    sender = PieceSender(name)
    retries = claim.attempt - 1
    sender.request = Context(id=task_id, task=name, args=(), kwargs=kwargs, retries=retries, is_eager=False)
    return sender, {"task_id": task_id, "args": (), "kwargs": kwargs}


def shown_name(view: RunView, claim: Claim) -> str:
    """``dag.node``: few different names, because they are labels of metrics too."""
    return f"{view.program.plan.name}.{view.program.node_name(claim.scope.body, claim.step)}"


def uuid_of(view: RunView, claim: Claim, index: int) -> str:
    """Return an id for one execution of a piece."""
    piece = PieceId(claim.scope.id, claim.step, index).name.replace("/", "-")
    return f"{view.run_id}-{piece}-{claim.attempt}"


def shown_kwargs(view: RunView, claim: Claim, index: int) -> dict[str, Any]:
    """Return the arguments that are shown of a piece: run, node and index, never a value."""
    about: dict[str, Any] = {"run": view.run_id, "node": view.address(claim.scope, claim.step)}
    return about if index < 0 else about | {"index": index}


ENABLED = "DAGCELERY_EVENTS"
"""Environment variable by which a worker's children know that it was started with ``-E``."""

HOSTNAME = "DAGCELERY_HOSTNAME"

_BATCH_EVENTS = 200

_BATCH_SECONDS = 1.0

_MOST_ITEMS_SHOWN = 1000


class Batches:
    """Events sent together, every second or 200: one by one they cost a child ten times as much."""

    def __init__(self, app: Celery) -> None:
        hostname = os.environ.get(HOSTNAME) or default_nodename("")
        self._dispatcher = app.events.Dispatcher(
            app.connection_for_write(),
            hostname=hostname,
            groups=["task"],
            buffer_group={"task"},
            buffer_limit=_BATCH_EVENTS,
            buffer_while_offline=True,
        )
        self._lock = threading.Lock()
        self._waiting = threading.Event()
        threading.Thread(target=self._flush_regularly, name="dagcelery-events", daemon=True).start()

    def add(self, kind: str, fields: dict[str, Any]) -> None:
        """Send an event soon."""
        with self._lock:
            self._dispatcher.send(kind, **fields)
        self._waiting.set()

    def _flush_regularly(self) -> None:
        while True:
            self._waiting.wait()
            time.sleep(_BATCH_SECONDS)
            self._waiting.clear()
            with self._lock:
                self._dispatcher.flush()


def events_of(
    view: RunView, claim: Claim, result: TaskResult, *, is_retried: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events of a piece, or of each item of a range: received, started, and how it ended."""
    received, done, error, each = result.started, result.done, result.error, seconds_each(claim, result)
    rows: list[tuple[int, float, BaseException | None]] = []
    if claim.lo >= 0 and claim.items > _MOST_ITEMS_SHOWN:
        rows += [(claim.lo, each * (done - claim.lo), None)] if done > claim.lo else []
    elif claim.lo >= 0:
        rows += [(index, each, None) for index in range(claim.lo, done)]
    if claim.lo < 0 or error is not None:
        rows.append((done if claim.lo >= 0 else -1, each, error))
    for index, seconds, failed in rows:
        uuid = uuid_of(view, claim, index)
        name, kwargs = shown_name(view, claim), repr(shown_kwargs(view, claim, index))
        times = {"timestamp": received, "root_id": uuid, "parent_id": None}
        yield (
            "task-received",
            {"uuid": uuid, "name": name, "args": "()", "kwargs": kwargs, "retries": 0, "eta": None, **times},
        )
        yield "task-started", {"uuid": uuid, "timestamp": received}  # the dispatcher adds the pid
        ended = {"uuid": uuid, "timestamp": received + seconds}
        if failed is None:
            yield "task-succeeded", {**ended, "result": "", "runtime": seconds}
        else:
            yield (
                "task-retried" if is_retried else "task-failed",
                {**ended, "exception": type(failed).__name__, "traceback": ""},
            )
