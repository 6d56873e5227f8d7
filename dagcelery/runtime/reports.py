"""What a worker's log says of the work: failures and retries of pieces, ends of nodes and of runs.

A line names run and node and never shows an argument. Its ``extra`` has the same for programs: `run`, `dag`, `node`,
`item` (and `index`, as `PieceFilter` has it), `attempt`, `queue` and `action`. No line asks the store for anything but
the place of a scope, and none is made for a level that is off.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from dagcelery.payload import failures
from dagcelery.runtime.canvas import LINK, VISIT
from dagcelery.runtime.execution import Executed
from dagcelery.runtime.reading import RunView
from dagcelery.runtime.telling import quiet_logger
from dagcelery.store.records import CLOSE, Claim, Completed, Response, Scope

log = quiet_logger(__name__)

_CELERYS: Final = ("celery.worker.strategy", "celery.app.trace")


def report_piece(view: RunView, grant: Claim, executed: Executed, reply: Response) -> None:
    """Say that a piece failed, or that a node has ended with it."""
    if reply.state == "stale":
        return
    if executed.error is not None:
        _report_failure(view, grant, executed, executed.error, reply)
    if not log.isEnabledFor(logging.INFO):
        return
    for done in reply.completed:
        _report_fan_out(view, view.scope(done.scope), done)
    if executed.error is None and executed.children is None and view.program.knows(grant.scope.body):
        scope, step = grant.scope, grant.step
        if step == CLOSE:
            scope, step, index = view.scope(scope.parent), scope.step, scope.index
            is_once = index < 0
        else:
            is_once = grant.lo < 0 and step >= 0
        if is_once:
            _report_end(view, scope, step, f"in {executed.seconds:.3f} s", grant.attempt)


def report_run(run_id: str, dag: str, state: str, seconds: float) -> None:
    """Say that this process has ended a run."""
    about = {"action": "run_ended", "run": run_id, "dag": dag, "state": state, "seconds": seconds}
    how = state.replace("_", " ")
    log.info("run %s of %s ended as %s after %.3f s", run_id, dag, how, seconds, extra=about)


def _report_failure(view: RunView, grant: Claim, executed: Executed, error: BaseException, reply: Response) -> None:
    index = executed.outcome.done if grant.lo >= 0 else -1
    node, summary = _address(view, grant, index), f"{type(error).__qualname__}: {failures.message(error)}"
    about = _about(view, grant.scope, grant.step, node, index, grant.attempt)
    if reply.state == "retried":
        again = "run %s: %s failed in attempt %d (%s); attempt %d is due in %.1f s"
        seconds = reply.retry_seconds or 0.0
        extra = about | {"action": "retried", "retry_seconds": seconds}
        log.warning(again, view.run_id, node, grant.attempt, summary, grant.attempt + 1, seconds, extra=extra)
    elif reply.state == "skipped":
        extra = about | {"action": "skipped"}
        log.warning("run %s: %s failed, and is left out (%s)", view.run_id, node, summary, extra=extra)
    else:
        extra = about | {"action": "failed"}
        failed = "run %s: %s failed in attempt %d (%s)"
        log.error(failed, view.run_id, node, grant.attempt, summary, exc_info=error, extra=extra)


def _report_fan_out(view: RunView, scope: Scope, done: Completed) -> None:
    left_out = f", {done.skipped} left out" if done.skipped else ""
    _report_end(view, scope, done.step, f"{done.items} items{left_out}", None)


def _report_end(view: RunView, scope: Scope, step: int, how: str, attempt: int | None) -> None:
    """Say that a node has ended. Within an item of a mapped DAG this is logged at DEBUG."""
    found = view.program.step(scope.body, step)
    if found.kind not in ("task", "dag") or view.program.is_branch(scope.body, step):
        return
    node = view.address(scope, step)
    level = logging.DEBUG if "[" in node else logging.INFO
    if log.isEnabledFor(level):
        extra = _about(view, scope, step, node, -1, attempt) | {"action": "node_done"}
        log.log(level, "run %s: node %s is done (%s)", view.run_id, node, how, extra=extra)


def _about(view: RunView, scope: Scope, step: int, node: str, index: int, attempt: int | None) -> dict[str, Any]:
    queue = view.program.step(scope.body, step).queue if step >= 0 and view.program.knows(scope.body) else ""
    item = None if index < 0 else index
    about = {"run": view.run_id, "dag": view.program.plan.name, "node": node, "item": item, "index": item}
    return about | {"attempt": attempt, "queue": queue}


def _address(view: RunView, grant: Claim, index: int) -> str:
    return view.address(grant.scope, grant.step, index) if view.program.knows(grant.scope.body) else grant.piece


class OwnMessages(logging.Filter):
    """Lowers what Celery says of our two tasks to DEBUG: a message says little, since many pieces share it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all other records pass as they are."""
        about = getattr(record, "data", None)
        if record.levelno != logging.INFO or not isinstance(about, dict) or about.get("name") not in (VISIT, LINK):
            return True
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


def lower_own_messages() -> None:
    """Let Celery's own lines on our messages be DEBUG in this process, whatever the app."""
    for name in _CELERYS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, OwnMessages) for known in logger.filters):
            logger.addFilter(OwnMessages())
