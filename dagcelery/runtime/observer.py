"""Pieces as Celery shows its tasks: events for Flower in batches, and signals.

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

from celery import Celery
from celery.utils.nodenames import default_nodename

from dagcelery.runtime.execution import Executed
from dagcelery.runtime.reading import RunView
from dagcelery.runtime.reports import report_piece, report_run
from dagcelery.runtime.signals import Signals, shown_kwargs, shown_name, signals_of, uuid_of
from dagcelery.store.records import Claim, Response

ENABLED = "DAGCELERY_EVENTS"
"""Environment variable by which a worker's children know that it was started with ``-E``."""
HOSTNAME = "DAGCELERY_HOSTNAME"
_BATCH_EVENTS = 200
_BATCH_SECONDS = 1.0
_MOST_ITEMS_SHOWN = 1000


class Announcer:
    """Tells Celery's listeners of pieces."""

    def __init__(self, app: Celery) -> None:
        self._events = Batches(app) if os.environ.get(ENABLED) else None

    def listener(self, view: RunView, grant: Claim) -> Signals | None:
        """What fires the signals of a grant's pieces; None where nobody listens."""
        return signals_of(view, grant)

    def ended(self, view: RunView, grant: Claim, executed: Executed, reply: Response) -> bool:
        """Log, and send events of, what was committed, has failed, or will be tried again."""
        report_piece(view, grant, executed, reply)
        is_silent = self._events is None or reply.state == "stale" or not view.program.knows(grant.scope.body)
        if self._events is not None and not is_silent and grant.step >= 0 and executed.children is None:
            for event in events_of(view, grant, executed, is_retried=reply.state == "retried"):
                self._events.add(*event)
        return False

    def run_ended(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        """Log it."""
        report_run(run_id, dag, state, seconds)


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
    view: RunView, grant: Claim, executed: Executed, *, is_retried: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of a piece, or of each item of a range: received, started, and how it ended."""
    received = executed.outcome.started
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
        name, kwargs = shown_name(view, grant), repr(shown_kwargs(view, grant, index))
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
