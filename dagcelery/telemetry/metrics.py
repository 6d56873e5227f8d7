"""What is counted of runs and pieces, for Prometheus: in each process as it happens, and in the store once a second.

The store has the counters, since the processes of a pool come and go: they only rise, whatever dies or starts again. A
process adds up what it counts, and a thread of it sends that within a second, so that no piece pays a call to the
store. One that is killed loses what it has not sent. The road not taken is to count in the scripts that commit: each
piece would pay for it, and a run's keys and the counters may be on different servers of a cluster.
"""

from __future__ import annotations

import atexit
import os
import re
import threading
import time
import uuid
import weakref
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

from dagcelery.engine.hooks import Listener, seconds_each
from dagcelery.engine.interrupts import quiet_logger, tell
from dagcelery.engine.run_view import RunView
from dagcelery.errors import StoreFull, StoreUnavailable
from dagcelery.store.protocol import Fleet
from dagcelery.store.records import Claim, Response, TaskResult

log = quiet_logger(__name__)


class Family(NamedTuple):
    """A metric: its name without ``dagcelery_``, what it says, and its labels. A histogram has `buckets`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


RUNS: Final = Family("runs", "Runs that ended, by how they did.", ("dag", "state"))
RUN_SECONDS: Final = Family(
    "run_duration_seconds",
    "How long runs took that ended, from the start of their first piece.",
    ("dag", "state"),
    (0.1, 1, 5, 10, 60, 300, 1800, 3600, 21600, 86400),
)
PIECES: Final = Family(
    "pieces",
    "Pieces that were executed: done, failed, retried (tried again later) or skipped.",
    ("dag", "node", "state"),
)
PIECE_SECONDS: Final = Family(
    "piece_duration_seconds",
    "How long pieces took, each attempt of them.",
    ("dag", "node"),
    (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 60, 300, 1800),
)
WAIT_SECONDS: Final = Family(
    "piece_wait_seconds",
    "How long pieces were ready until a worker claimed them. If this grows, add workers.",
    ("queue",),
    (0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800),
)
COUNTED: Final = (RUNS, RUN_SECONDS, PIECES, PIECE_SECONDS, WAIT_SECONDS)
"""What the store has counters for. Those without buckets are counters, and their names end with ``_total``."""

OTHER: Final = "(other)"
"""The label of what comes when there are very many counters: all of it together."""

_MOST_COUNTERS: Final = 5_000
"""Enough for some 500 nodes. A program may make any number of names, and Prometheus keeps each of them."""

_SECONDS: Final = 1.0
_SUM, _MICROS, _APART = "sum", 1e6, "\x1f"
_INSTANCE: Final = re.compile(r"-\d+$")

Sample = tuple[str, tuple[str, ...], str]
"""What a number is about: metric, labels, and of a histogram the bound of a bucket, or the sum, in microseconds."""


def field_of(sample: Sample) -> str:
    """Return the name of a counter in the store."""
    name, labels, part = sample
    return _APART.join((name, *(label.replace(_APART, " ") for label in labels), part))


def sample_of(field: str) -> Sample:
    """Return what a counter is about."""
    name, *labels, part = field.split(_APART)
    return name, tuple(labels), part


class Counters:
    """What this process has counted and not sent yet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._counts = Counter[Sample]()
        self._sending: tuple[str, Mapping[str, int]] | None = None
        self._flushing = threading.Lock()
        self._busy = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_told = False
        _known.add(self)

    def add(self, family: Family, labels: tuple[str, ...], number: int = 1) -> None:
        """Count."""
        with self._lock:
            self._counts[family.name, labels, ""] += number
        self._send_soon()

    def observe(self, family: Family, labels: tuple[str, ...], seconds: float, number: int = 1) -> None:
        """Count values of a histogram, which are the same."""
        at = bisect_left(family.buckets, seconds)
        bound = str(family.buckets[at]) if at < len(family.buckets) else "+Inf"
        with self._lock:
            self._counts[family.name, labels, bound] += number
            self._counts[family.name, labels, _SUM] += round(seconds * _MICROS) * number
        self._send_soon()

    def _send_soon(self) -> None:
        if not self._busy.is_set():
            self._busy.set()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="dagcelery-metrics", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._busy.wait()
            time.sleep(_SECONDS)
            self._busy.clear()
            tell(self.flush)

    def flush(self) -> None:
        """Send what was counted. What may have arrived is sent again under the same token, as long as it takes."""
        if self._pid != os.getpid():
            return  # it is its parent's
        with self._flushing:
            if self._sending is None:
                with self._lock:
                    counts, self._counts = self._counts, Counter[Sample]()
                self._sending = uuid.uuid4().hex, {field_of(sample): n for sample, n in counts.items() if n}
            try:
                self._send(*self._sending)
            except (StoreUnavailable, StoreFull) as error:
                if not self._is_told:
                    log.warning("metrics wait here: %s", error, extra={"action": "metrics_wait"})
                self._is_told = True
                self._send_soon()
            else:
                self._sending, self._is_told = None, False

    def _send(self, token: str, counts: Mapping[str, int]) -> None:
        refused = self._fleet.count(token, counts, _MOST_COUNTERS)
        others = Counter[str]()
        for field in refused:
            others[_with_others(field)] += counts[field]
        if others:
            self._fleet.count(f"{token}-others", others, 2 * _MOST_COUNTERS)


def _with_others(field: str) -> str:
    name, *labels, part = field.split(_APART)
    return _APART.join((name, *(OTHER for _ in labels), part))


_known: weakref.WeakSet[Counters] = weakref.WeakSet()


@atexit.register
def flush_all() -> None:
    """Send what this process has counted, before it ends."""
    for counters in list(_known):
        tell(counters.flush)


class Counting(Listener):
    """Counts what the listener hears that it passes on."""

    def __init__(self, counters: Counters, listener: Listener) -> None:
        self._counters = counters
        self._listener = listener

    def hears_calls(self, view: RunView, claim: Claim) -> bool:
        """Ask the other."""
        return self._listener.hears_calls(view, claim)

    def before(self, view: RunView, claim: Claim, index: int) -> None:
        """Pass it on."""
        self._listener.before(view, claim, index)

    def after(self, view: RunView, claim: Claim, index: int, error: BaseException | None) -> None:
        """Pass it on."""
        self._listener.after(view, claim, index, error)

    def failed(self, view: RunView, claim: Claim, index: int, error: BaseException) -> None:
        """Pass it on."""
        self._listener.failed(view, claim, index, error)

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        """Count the pieces of a claim."""
        if response.state != "stale" and claim.step >= 0 and view.program.knows(claim.scope.body):
            tell(self._count, view, claim, result, response.state)
        return self._listener.ended(view, claim, result, response)

    def run_ended(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        """Count a run."""
        tell(count_run, self._counters, dag, state, seconds)
        self._listener.run_ended(run_id, dag, state, seconds)

    def _count(self, view: RunView, claim: Claim, result: TaskResult, state: str) -> None:
        program, body = view.program, claim.scope.body
        step = program.step(body, claim.step)
        if step.kind != "task":
            return
        node = _INSTANCE.sub("", step.name) if program.is_grown(body) else step.name
        named = (program.plan.name, node)
        failed = int(result.error is not None)
        done = result.done - claim.lo if claim.lo >= 0 else 1 - failed
        if done:
            self._counters.add(PIECES, (*named, "done"), done)
        if failed:
            self._counters.add(PIECES, (*named, "failed" if state == "committed" else state))
        if not claim.poisoned:
            self._counters.observe(PIECE_SECONDS, named, seconds_each(claim, result), done + failed)
        if claim.waited is not None:
            self._counters.observe(WAIT_SECONDS, (step.queue,), claim.waited, done + failed)


def count_run(counters: Counters, dag: str, state: str, seconds: float) -> None:
    """Count a run that this process has ended."""
    counters.add(RUNS, (dag, state))
    counters.observe(RUN_SECONDS, (dag, state), seconds)
