"""What is counted of runs and pieces, for Prometheus: in each process as it happens, and in the store once a second.

The store has the counters, since the processes of a pool come and go: they only rise, whatever dies or starts again. A
process adds up what it counts, and a thread of it sends that within a second, so that no piece pays a call to the
store. One that is killed loses what it has not sent. The road not taken is to count in the scripts that commit: each
piece would pay for it, and a run's keys and the counters may be on different servers of a cluster.
"""

from __future__ import annotations

import atexit
import math
import os
import re
import threading
import time
import uuid
import weakref
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from dagcelery.engine.hooks import Listener
from dagcelery.engine.interrupts import quiet_logger, tell
from dagcelery.engine.program import Program
from dagcelery.engine.run_view import RunView
from dagcelery.errors import DagceleryError
from dagcelery.planner.plan import Step
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
SUM, MICROS, _APART = "sum", 1e6, "\x1f"
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


class Tally:
    """What was counted of a node and not sent yet: a piece costs some additions, and no names are put together."""

    def __init__(self, program: Program, body: int, step: Step) -> None:
        self.program = program  # as long as it is here no other one has its id
        self._node = _INSTANCE.sub("", step.name) if program.is_grown(body) else step.name
        self._queue = step.queue
        self._done, self._others = 0, Counter[str]()
        self._taken, self._seconds = [0] * (len(PIECE_SECONDS.buckets) + 1), 0.0
        self._waits, self._waited = [0] * (len(WAIT_SECONDS.buckets) + 1), 0.0

    def note(self, claim: Claim, result: TaskResult, state: str) -> None:
        """Count the pieces of a claim; `state` is what the store made of it."""
        failed = int(result.error is not None)
        done = result.done - claim.lo if claim.lo >= 0 else 1 - failed
        number = done + failed
        self._done += done
        if failed:
            self._others["failed" if state == "committed" else state] += 1
        if number and not claim.poisoned:
            self._taken[bisect_left(PIECE_SECONDS.buckets, result.seconds / number)] += number
            self._seconds += result.seconds
        if claim.waited is not None:
            self._waits[bisect_left(WAIT_SECONDS.buckets, claim.waited)] += number
            self._waited += claim.waited * number

    def samples(self) -> Iterator[tuple[Sample, int]]:
        """Return what was counted."""
        named = (self.program.plan.name, self._node)
        for state, number in (("done", self._done), *self._others.items()):
            yield (PIECES.name, (*named, state), ""), number
        yield from _histogram(PIECE_SECONDS, named, self._taken, self._seconds)
        yield from _histogram(WAIT_SECONDS, (self._queue,), self._waits, self._waited)


def _histogram(
    family: Family, labels: tuple[str, ...], numbers: Sequence[int], total: float
) -> Iterator[tuple[Sample, int]]:
    for bound, number in zip((*family.buckets, math.inf), numbers, strict=True):
        yield (family.name, labels, str(bound)), number
    yield (family.name, labels, SUM), round(total * MICROS)


class Counters:
    """What this process has counted and not sent yet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._tallies: dict[tuple[int, int, int], Tally] = {}
        self._counts = Counter[Sample]()
        self._sending: tuple[str, Mapping[str, int]] | None = None
        self._flushing = threading.Lock()
        self._is_busy = False
        self._busy = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_told = False
        _known.add(self)

    def count_pieces(self, program: Program, claim: Claim, result: TaskResult, state: str) -> None:
        """Count the pieces of a claim, if they are calls of a task."""
        body, number = claim.scope.body, claim.step
        with self._lock:
            tally = self._tallies.get((id(program), body, number))
            if tally is None:
                step = program.step(body, number)
                if step.kind != "task":
                    return
                tally = self._tallies[id(program), body, number] = Tally(program, body, step)
            tally.note(claim, result, state)
        if not self._is_busy:
            self._send_soon()

    def count_run(self, dag: str, state: str, seconds: float) -> None:
        """Count a run that this process has ended."""
        numbers = [0] * (len(RUN_SECONDS.buckets) + 1)
        numbers[bisect_left(RUN_SECONDS.buckets, seconds)] = 1
        with self._lock:
            self._counts[RUNS.name, (dag, state), ""] += 1
            for sample, number in _histogram(RUN_SECONDS, (dag, state), numbers, seconds):
                self._counts[sample] += number
        self._send_soon()

    def _send_soon(self) -> None:
        self._is_busy = True
        self._busy.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="dagcelery-metrics", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._busy.wait()
            time.sleep(_SECONDS)
            self._busy.clear()
            self._is_busy = False
            tell(self.flush)

    def flush(self) -> None:
        """Send what was counted. What may have arrived is sent again under the same token, as long as it takes."""
        if self._pid != os.getpid():
            return  # it is its parent's
        with self._flushing:
            if self._sending is None:
                self._sending = uuid.uuid4().hex, self._taken()
            try:
                self._send(*self._sending)
            except DagceleryError as error:
                if not self._is_told:
                    log.warning("metrics wait here: %s", error, extra={"action": "metrics_wait"})
                self._is_told = True
                self._send_soon()
            else:
                self._sending, self._is_told = None, False

    def _taken(self) -> Mapping[str, int]:
        with self._lock:
            counts, self._counts = self._counts, Counter[Sample]()
            tallies, self._tallies = self._tallies, {}
        for tally in tallies.values():
            for sample, number in tally.samples():
                counts[sample] += number
        return {field_of(sample): number for sample, number in counts.items() if number}

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

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        """Count the pieces of a claim."""
        is_kept = self._listener.ended(view, claim, result, response)
        if claim.step >= 0 and response.state != "stale" and view.program.knows(claim.scope.body):
            self._counters.count_pieces(view.program, claim, result, response.state)
        return is_kept

    def run_ended(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        """Count a run."""
        self._listener.run_ended(run_id, dag, state, seconds)
        self._counters.count_run(dag, state, seconds)
