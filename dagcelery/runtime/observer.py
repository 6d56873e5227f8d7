"""Pieces as Celery shows its tasks: events for Flower in batches, and signals where anybody listens.

Many pieces share a message, so the message's own events would say little. Each piece gets its own: its name is
``dag.node``, its kwargs name run, node and index and never hold a value. A fan-out of more than 1,000 items is shown
range by range.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

from celery import Celery, signals
from celery.utils.nodenames import default_nodename

from dagcelery.runtime.execution import Executed
from dagcelery.runtime.reading import RunView
from dagcelery.store.base import Grant

ENABLED = "DAGCELERY_EVENTS"
"""Environment variable by which a worker's children know that it was started with ``-E``."""
HOSTNAME = "DAGCELERY_HOSTNAME"
_BATCH_EVENTS = 200
_BATCH_SECONDS = 1.0
_MOST_ITEMS_SHOWN = 1000


class Announcer:
    """Tells Celery's listeners of pieces."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._events = Batches(app) if os.environ.get(ENABLED) else None
        self._received = 0.0

    def started(self, view: RunView, grant: Grant) -> None:
        """Fire task_prerun for a piece."""
        self._received = time.time()
        if signals.task_prerun.receivers and grant.step >= 0:
            name = shown_name(view, grant)
            signals.task_prerun.send(
                sender=name,
                task_id=uuid_of(view, grant, grant.lo),
                task=name,
                args=(),
                kwargs=_kwargs(view, grant, grant.lo),
            )

    def ended(self, view: RunView, grant: Grant, executed: Executed, state: str) -> None:
        """Fire the piece's events, and task_success or task_failure and task_postrun."""
        if grant.step < 0 or executed.children is not None or state != "committed":
            return
        if self._events is not None:
            for event in events_of(view, grant, executed, self._received):
                self._events.add(*event)
        self._signal(view, grant, executed)

    def _signal(self, view: RunView, grant: Grant, executed: Executed) -> None:
        name, error = shown_name(view, grant), executed.error
        index = executed.outcome.done if error is not None else grant.lo
        about = {"task_id": uuid_of(view, grant, index), "args": (), "kwargs": _kwargs(view, grant, index)}
        if error is not None and signals.task_failure.receivers:
            signals.task_failure.send(sender=name, exception=error, traceback=error.__traceback__, einfo=None, **about)
        if error is None and signals.task_success.receivers:
            signals.task_success.send(sender=name, result=None)
        if signals.task_postrun.receivers:
            state = "FAILURE" if error is not None else "SUCCESS"
            signals.task_postrun.send(sender=name, task=name, retval=None, state=state, **about)


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


def events_of(view: RunView, grant: Grant, executed: Executed, received: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of a piece, or of each item of a range: received, started, and how it ended."""
    done, error = executed.outcome.done, executed.error
    if grant.lo < 0:
        rows = [(-1, executed.seconds, error)]
    elif grant.items > _MOST_ITEMS_SHOWN:
        rows = [(grant.lo, executed.seconds * (done - grant.lo), None)] if done > grant.lo else []
        rows += [(done, executed.seconds, error)] if error is not None else []
    else:
        rows = [(index, executed.seconds, None) for index in range(grant.lo, done)]
        rows += [(done, executed.seconds, error)] if error is not None else []
    for index, seconds, failed in rows:
        uuid = uuid_of(view, grant, index)
        name, kwargs = shown_name(view, grant), repr(_kwargs(view, grant, index))
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
            yield "task-failed", {**ended, "exception": type(failed).__name__, "traceback": ""}


def shown_name(view: RunView, grant: Grant) -> str:
    """``dag.node``: few different names, because they are labels of metrics too."""
    return f"{view.program.plan.name}.{view.program.node_name(grant.scope.body, grant.step)}"


def uuid_of(view: RunView, grant: Grant, index: int) -> str:
    """An id for one execution of a piece."""
    item = "" if index < 0 else f"-{index}"
    return f"{view.run_id}-{grant.scope.id}-{grant.step}{item}-{grant.attempt}"


def _kwargs(view: RunView, grant: Grant, index: int) -> dict[str, Any]:
    about: dict[str, Any] = {"run": view.run_id, "node": view.address(grant.scope, grant.step)}
    return about if index < 0 else about | {"index": index}
