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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import Any, Final

from billiard.einfo import ExceptionInfo
from celery import Celery, Task, signals
from celery.app.task import Context
from celery.states import FAILURE, IGNORED, RETRY, SUCCESS
from celery.utils.nodenames import default_nodename

from dagcelery.engine.hooks import Listener, calls_task, seconds_each
from dagcelery.engine.interrupts import quiet_logger, tell
from dagcelery.engine.pieces import PieceFields, PieceFilter, TailHandler, keep_tails_of
from dagcelery.engine.run_view import RunView
from dagcelery.payload import failures
from dagcelery.store.records import CLOSE, Claim, Completed, PieceId, Response, Scope, TaskResult
from dagcelery.worker import sentry
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
    about, summary = about_piece(view, claim, index), f"{type(error).__qualname__}: {failures.message(error)}"
    node = about["node"]
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
        name = shown_name(view, claim) if claim.step >= 0 and view.program.knows(claim.scope.body) else claim.piece
        tell(sentry.capture, error, name, uuid_of(view, claim, index), about)
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


def about_piece(view: RunView, claim: Claim, index: int) -> dict[str, Any]:
    """Return what records say of one execution of a piece."""
    is_known = view.program.knows(claim.scope.body)
    node = view.address(claim.scope, claim.step, index) if is_known else claim.piece
    return _about(view, claim.scope, claim.step, node, index, claim.attempt)


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


def shape_logs(*, is_ours: bool) -> None:
    """Shape the logs of a worker's process: in an app of a team's, records get more fields, and no line looks other."""
    lower_own_messages()
    keep_tails()
    if is_ours:
        show_pieces()
    for logger in (logging.getLogger(), *logging.Logger.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):  # of loggers: there are places that stand for them, too
            if not any(isinstance(known, PieceFields | PieceFilter) for known in handler.filters):
                handler.addFilter(PieceFields())


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


def fire_as_raised(error: BaseException, fire: Callable[[ExceptionInfo, TracebackType | None], object]) -> None:
    """Fire a signal while an error is being handled, as Celery does: receivers may ask for the one that is.

    An error that was never raised, as those of poisoned pieces, has a traceback by then, which receivers expect.
    """
    trace = error.__traceback__
    try:
        raise error  # noqa: TRY301  # it is caught right here
    except BaseException:
        shown = trace or error.__traceback__
        fire(ExceptionInfo((type(error), error, shown)), shown)
    finally:
        error.__traceback__ = trace


class PieceSender(Task):  # type: ignore[type-arg]  # it is generic to type checkers only
    """A piece as its signals' sender and task: one object from `task_prerun` to `task_postrun`.

    Receivers read a task's name, request and options off it, and tracers hang their spans on it. So it is a task,
    though one that no registry knows and that nobody can send.
    """

    app: Any = None
    request: Any = None
    max_retries: Any = 0

    def __init__(self, app: Celery, view: RunView, claim: Claim, index: int) -> None:
        step = view.program.step(claim.scope.body, claim.step)
        task = app.current_worker_task
        self.app, self.name = app, shown_name(view, claim)
        self.__module__, self._node = view.program.plan.name, view.program.node_name(claim.scope.body, claim.step)
        self.max_retries = step.options["retry"]["max_attempts"] - 1 if "retry" in step.options else 0
        self.about: dict[str, Any] = {
            "task_id": uuid_of(view, claim, index),
            "args": (),
            "kwargs": shown_kwargs(view, claim, index),
        }
        self.request = Context(
            id=self.about["task_id"],
            task=self.name,
            args=(),
            kwargs=self.about["kwargs"],
            retries=claim.attempt - 1,
            is_eager=False,
            called_directly=False,
            hostname=(task.request.hostname if task is not None else None) or "",
            delivery_info={"exchange": "", "routing_key": step.queue},
            headers={},
            correlation_id=view.run_id,
            root_id=view.run_id,
        )
        self._around: ExitStack | None = ExitStack()

    @property
    def __name__(self) -> str:
        """The node's; its module is the DAG."""
        return self._node

    def apply_async(self, *_: Any, **__: Any) -> Any:
        """Refuse to be sent."""
        raise NotImplementedError(f"{self.name} is a node of a DAG: only a run executes it")

    def begin(self, about: Mapping[str, Any]) -> None:
        """Fire `task_prerun`, in a scope of its own where Sentry watches."""
        assert self._around is not None
        self._around.enter_context(sentry.scope_of_piece(self.name, self.about["task_id"], about))
        sentry.forget_breadcrumbs()
        signals.task_prerun.send(sender=self, task=self, **self.about)

    def fail(self, error: BaseException, *, is_retried: bool) -> None:
        """Fire `task_retry` or `task_failure`."""

        def fire(einfo: ExceptionInfo, trace: TracebackType | None) -> None:
            if is_retried:
                signals.task_retry.send(sender=self, request=self.request, reason=error, einfo=einfo)
            else:
                signals.task_failure.send(sender=self, exception=error, traceback=trace, einfo=einfo, **self.about)

        fire_as_raised(error, fire)

    def end(self, state: str) -> None:
        """Fire `task_postrun`, unless it has been or nothing has begun."""
        around, self._around = self._around, None
        if around is not None:
            with around:
                signals.task_postrun.send(sender=self, task=self, retval=None, state=state, **self.about)


_sender: ContextVar[PieceSender | None] = ContextVar("dagcelery_sender", default=None)


class Announcer(Listener):
    """Fires Celery's signals around calls, and logs what came of pieces. None of it holds a value.

    What becomes of a call that failed is the store's to say: its `task_failure` or `task_retry`, and `task_postrun`,
    come when that is known, in the order and in the context in which receivers expect them.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._events = Batches(app) if os.environ.get(ENABLED) else None

    def hears_calls(self, view: RunView, claim: Claim) -> bool:
        """Return whether signals of this claim have receivers: only steps that call a function have signals."""
        return (any(signal.receivers for signal in _SIGNALS) or sentry.is_watched()) and calls_task(view, claim)

    def before(self, view: RunView, claim: Claim, index: int) -> None:
        """Fire `task_prerun`."""
        sender = PieceSender(self._app, view, claim, index)
        _sender.set(sender)
        sender.begin(about_piece(view, claim, index))

    def after(self, view: RunView, claim: Claim, index: int, error: BaseException | None) -> None:
        """Fire `task_success` and `task_postrun`."""
        sender = _sender.get()
        if error is None and sender is not None:
            signals.task_success.send(sender=sender, result=None)
            sender.end(SUCCESS)

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        """Tell, log, and send events of, pieces that were committed, have failed, or will be tried again."""
        state, sender = response.state, None
        if result.error is not None and self.hears_calls(view, claim):
            sender = self._sender_of(view, claim, result.done if claim.lo >= 0 else -1)
        if sender is not None and result.error is not None and state != "stale":
            tell(partial(sender.fail, is_retried=state == "retried"), result.error)
        if state != "stale":
            self._report(view, claim, result, response)
        if sender is not None:
            tell(sender.end, IGNORED if state == "stale" else RETRY if state == "retried" else FAILURE)
        return False

    def _sender_of(self, view: RunView, claim: Claim, index: int) -> PieceSender:
        """Return the sender of this call, or one for a piece that was not called, which `task_postrun` knows not."""
        sender = _sender.get()
        if sender is None or sender.request.id != uuid_of(view, claim, index):
            sender = PieceSender(self._app, view, claim, index)
            sender._around = None
        return sender

    def _report(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> None:
        report_piece(view, claim, result, response)
        if self._events is not None and calls_task(view, claim):
            for event in events_of(view, claim, result, is_retried=response.state == "retried"):
                self._events.add(*event)

    def run_ended(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        """Log the end of a run."""
        report_run(run_id, dag, state, seconds)


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
