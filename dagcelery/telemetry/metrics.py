"""What is counted of runs and pieces, for Prometheus: in each process as it happens, and in the store once a second.

It is counted where somebody wants it: for a small node it is some hundredths of the work (8 of 200 µs).

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
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final, NamedTuple, TypeVar, cast

from dagcelery.engine.hooks import Listener, calls_task
from dagcelery.engine.interrupts import quiet_logger, tell
from dagcelery.engine.program import Program
from dagcelery.engine.run_view import RunView
from dagcelery.errors import DagceleryError
from dagcelery.store.protocol import Fleet
from dagcelery.store.records import Claim, Response, TaskResult

log = quiet_logger(__name__)

L = TypeVar("L", bound=tuple[str, ...])


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

_MOST_OTHERS: Final = 200
"""More than there are of what is counted together: by state, and by bucket."""

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


class Values:
    """Values of a histogram: a number for each bucket, and the sum."""

    __slots__ = ("_family", "_numbers", "_total")

    def __init__(self, family: Family) -> None:
        self._family = family
        self._numbers: dict[int, int] = {}
        self._total = 0.0

    def add(self, value: float, number: int) -> None:
        """Count a value that came so many times."""
        at = bisect_left(self._family.buckets, value)
        self._numbers[at] = self._numbers.get(at, 0) + number
        self._total += value * number

    def samples(self, labels: tuple[str, ...]) -> Iterator[tuple[Sample, int]]:
        """Return what was counted."""
        bounds = (*self._family.buckets, math.inf)
        for at, number in self._numbers.items():
            yield (self._family.name, labels, str(bounds[at])), number
        yield (self._family.name, labels, SUM), round(self._total * MICROS)


class Tally:
    """What was counted of a node and not sent yet: a piece costs some additions, and no names are put together."""

    __slots__ = ("_done", "_named", "_others", "_seconds")

    def __init__(self, named: tuple[str, str]) -> None:
        self._named = named
        self._done, self._seconds = 0, Values(PIECE_SECONDS)
        self._others: dict[str, int] = {}

    def note(self, claim: Claim, result: TaskResult, state: str) -> int:
        """Count the pieces of a claim, of which the store made `state`; return how many they were."""
        failed = int(result.error is not None)
        done = result.done - claim.lo if claim.lo >= 0 else 1 - failed
        number = done + failed
        self._done += done
        if failed:
            how = "failed" if state == "committed" else state
            self._others[how] = self._others.get(how, 0) + 1
        if number and not claim.poisoned:
            self._seconds.add(result.seconds / number, number)
        return number

    def samples(self) -> Iterator[tuple[Sample, int]]:
        """Return what was counted."""
        for state, number in (("done", self._done), *self._others.items()):
            yield (PIECES.name, (*self._named, state), ""), number
        yield from self._seconds.samples(self._named)


class Noted:
    """What a process has counted since it has sent something."""

    def __init__(self) -> None:
        self.by_step: dict[tuple[int, int, int], Tally] = {}
        self.programs: dict[int, Program] = {}
        """As long as a program is here, no other one has its id."""
        self.by_node: dict[tuple[str, str], Tally] = {}
        self.waits: dict[str, Values] = {}
        self.runs = Counter[Sample]()

    def counts(self) -> dict[str, int]:
        """Return numbers by the names of counters."""
        counts = self.runs
        samples = (tally.samples() for tally in self.by_node.values())
        waits = (values.samples((queue,)) for queue, values in self.waits.items())
        for sample, number in chain.from_iterable((*samples, *waits)):
            counts[sample] += number
        return {field_of(sample): number for sample, number in counts.items() if number}


class Counters:
    """What this process has counted and not sent yet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._noted = Noted()
        self._sending: tuple[str, Mapping[str, int]] | None = None
        self._refused = set[tuple[str, ...]]()
        self._flushing = threading.Lock()
        self._due = threading.Event()
        self._sends = False
        self._is_told = False
        _known.add(self)

    def count_pieces(self, program: Program, claim: Claim, result: TaskResult, state: str) -> None:
        """Count the pieces of a claim, which are calls of a task."""
        body, number = claim.scope.body, claim.step
        step = program.step(body, number)
        with self._lock:
            noted = self._noted
            tally = noted.by_step.get((id(program), body, number)) or self._begin(program, body, number)
            pieces = tally.note(claim, result, state)
            if claim.waited is not None:
                values = noted.waits.get(step.queue)
                if values is None:
                    values = noted.waits[self._named((step.queue,))[0]] = Values(WAIT_SECONDS)
                values.add(claim.waited, pieces)
        self._send_soon()

    def _begin(self, program: Program, body: int, number: int) -> Tally:
        noted, name = self._noted, program.step(body, number).name
        node = _INSTANCE.sub("", name) if program.is_grown(body) else name
        named = self._named((program.plan.name, node))
        tally = noted.by_node.get(named)
        if tally is None:
            tally = noted.by_node[named] = Tally(named)
        noted.programs[id(program)], noted.by_step[id(program), body, number] = program, tally
        return tally

    def _named(self, labels: L) -> L:
        return cast("L", tuple(OTHER for _ in labels)) if self._refused and labels in self._refused else labels

    def count_run(self, dag: str, state: str, seconds: float) -> None:
        """Count a run that this process has ended."""
        values = Values(RUN_SECONDS)
        values.add(seconds, 1)
        with self._lock:
            labels = self._named((dag, state))
            for sample, number in (((RUNS.name, labels, ""), 1), *values.samples(labels)):
                self._noted.runs[sample] += number
        self._send_soon()

    def _send_soon(self) -> None:
        if self._due.is_set():
            return
        with self._lock:
            if not self._sends:
                thread = threading.Thread(target=self._send_regularly, name="dagcelery-metrics", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # there is none to be had: the next piece tries again, or the end does
                    return
                self._sends = True
        self._due.set()

    def _send_regularly(self) -> None:
        """Send what is due a second later: in one thread, since each has a connection of its own to the store."""
        while self._due.wait():
            time.sleep(_SECONDS)
            self._due.clear()
            tell(self.flush)
            if self._sending is not None:
                self._due.set()

    def flush(self) -> None:
        """Send what was counted. What may have arrived is sent again under the same token, as long as it takes."""
        if self._pid != os.getpid():
            return  # it is its parent's
        with self._flushing:
            if self._sending is None:
                with self._lock:
                    noted, self._noted = self._noted, Noted()
                self._sending = uuid.uuid4().hex, noted.counts()
            try:
                self._send(*self._sending)
            except DagceleryError as error:
                if not self._is_told:
                    log.warning("metrics wait here: %s", error, extra={"action": "metrics_wait"})
                self._is_told = True
            else:
                self._sending, self._is_told = None, False

    def _send(self, token: str, counts: Mapping[str, int]) -> None:
        """Send numbers, and those for which there is no room as those of others; remember nodes that are others now."""
        others = Counter[str]()
        for field in self._fleet.count(token, counts, _MOST_COUNTERS):
            name, labels, part = sample_of(field)
            others[field_of((name, tuple(OTHER for _ in labels), part))] += counts[field]
            if labels[-1] == "done":  # not where only a state, or a bucket, is new
                self._refused.add(labels[:2])
        if others:
            self._fleet.count(f"{token}-others", others, _MOST_COUNTERS + _MOST_OTHERS)


_known: weakref.WeakSet[Counters] = weakref.WeakSet()


@atexit.register
def flush_all() -> None:
    """Send what this process has counted, before it ends."""
    for counters in list(_known):
        tell(counters.flush)


class Counting(Listener):
    """Counts pieces and runs."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        """Count the pieces of a claim."""
        if response.state != "stale" and calls_task(view, claim):
            self._counters.count_pieces(view.program, claim, result, response.state)
        return False

    def run_ended(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        """Count a run."""
        self._counters.count_run(dag, state, seconds)
