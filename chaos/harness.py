"""Many runs at once amid a storm of faults, and what came of it all."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from typing import Any

from chaos import checks, trials
from chaos.graphs import case
from chaos.storm import SKEWS, STORM, WEATHERS, Storm, Weather
from chaos.trials import Trial
from chaos.unfit import unfit_workers
from dagcelery.testing import faults

PATIENT = {"DAGCELERY_MAX_DEATHS": "1000", "DAGCELERY_ASYNC_CONCURRENCY": "8"}
"""So many deaths prove nothing against a piece: here its workers die whatever it does."""
WORKERS, PROCESSES = 2, 2
EXTRA_SECONDS = 60.0
"""How much longer the storm may go on, with more runs, until each kind of fault has happened."""


@dataclass
class Report:
    """What a harness has seen."""

    seed: int
    trials: list[Trial] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    left_behind: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def violations(self) -> list[str]:
        """All that must not be."""
        found = [f"run {t.case.number} ({t.case.shape}, {t.run_id}): {v}" for t in self.trials for v in t.violations]
        return found + self.left_behind

    @property
    def is_proof(self) -> bool:
        """Whether nothing was violated although everything happened."""
        return not self.violations and not self.missing

    def shapes(self) -> Counter[str]:
        """How many runs there were of each shape."""
        return Counter(trial.case.shape for trial in self.trials)


class Harness:
    """Keeps this many runs in flight, in one weather after another, and reports on all of them."""

    def __init__(self, seed: int, *, in_flight: int, timeout: float, tell: Callable[[Trial], None]) -> None:
        self._seed = seed
        self._in_flight = in_flight
        self._timeout = timeout
        self._tell = tell
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._submitted = 0
        self.report = Report(seed)

    def run(self, numbers: Collection[int], required: Collection[str]) -> Report:
        """Make the runs, and more until the required kinds of faults have happened."""
        started, report = time.monotonic(), self.report
        for weather in reversed(dict.fromkeys(WEATHERS)):
            chosen = [number for number in numbers if WEATHERS[number % len(WEATHERS)] is weather]
            wanted = required if weather is STORM else ()
            if chosen or wanted:
                self._in(weather, chosen, wanted)
        report.missing = sorted(kind for kind in required if not report.faults.get(kind))
        report.seconds = time.monotonic() - started
        return report

    def _in(self, weather: Weather, numbers: Collection[int], required: Collection[str]) -> None:
        """Make runs in a weather, on a cluster of their own."""
        unfit = unfit_workers if weather.has_unfit_workers else nullcontext
        with (
            faults.faulty_cluster(
                WORKERS,
                PROCESSES,
                seed=self._seed,
                messages=weather.messages,
                skews=SKEWS[1:3],
                taints=["gpu"],
                modules=["chaos.graphs"],
                environment=PATIENT,
            ) as faulty,
            unfit(faulty),
        ):
            extra = itertools.count(max(numbers, default=0) + 1)
            queue = itertools.chain(numbers, self._while_missing(faulty, extra, required))
            with Storm(faulty, weather, self._seed, WORKERS), ThreadPoolExecutor(self._in_flight) as pool:
                try:
                    list(pool.map(lambda _: self._work(faulty, queue), range(self._in_flight)))
                finally:
                    self._over.set()
            self._over.clear()
            self.report.faults = self._with(faulty)
            self.report.left_behind += self._left_behind(faulty)

    def _with(self, faulty: faults.FaultyCluster) -> Counter[str]:
        return Counter(self.report.faults) + Counter(faulty.counts())

    def _while_missing(
        self, faulty: faults.FaultyCluster, numbers: Iterator[int], required: Collection[str]
    ) -> Iterator[int]:
        """More numbers, until each required kind of fault has happened or it takes too long."""
        until = math.inf
        for number in numbers:
            until = min(until, time.monotonic() + EXTRA_SECONDS)
            counts = self._with(faulty)
            if time.monotonic() > until or all(counts[kind] for kind in required):
                return
            yield number

    def _work(self, faulty: faults.FaultyCluster, queue: Iterator[int]) -> None:
        with closing(checks.raw_client(faulty.local.server.url)) as raw:
            while not self._over.is_set():
                with self._lock:
                    number = next(queue, None)
                if number is None:
                    return
                self._add(self._tried(faulty, raw, number))

    def _tried(self, faulty: faults.FaultyCluster, raw: Any, number: int) -> Trial:
        chosen = case(self._seed, number)
        with self._lock:
            self._submitted += 1  # a case may be tried again and again
            name = f"{self._seed}/{number}/{self._submitted}"
        try:
            return trials.tried(faulty.client, raw, chosen, name, self._timeout)
        except Exception as error:  # an error that a user would not expect is a violation too
            return Trial(chosen, violations=[f"{type(error).__name__}: {error}"])

    def _add(self, trial: Trial) -> None:
        with self._lock:
            self.report.trials.append(trial)
            self._tell(trial)

    def _left_behind(self, faulty: faults.FaultyCluster) -> list[str]:
        """What is there after all runs were examined and deleted, and should not be."""
        broken = {trial.run_id for trial in self.report.trials if trial.violations}
        with closing(checks.raw_client(faulty.local.server.url)) as raw:
            found = list(checks.immortal_keys(raw, "dagcelery:*"))
            names = sorted(name.decode() for name in raw.scan_iter(match="dagcelery:{*", count=1000))
            left = [name for name in names if name.split("{")[1].split("}")[0] not in broken]
            return found + [f"{name} was left behind, for {raw.pttl(name)} ms" for name in left]


def prove(
    runs: Collection[int],
    seed: int,
    *,
    in_flight: int = 12,
    timeout: float = 90.0,
    required: Collection[str] = (),
    tell: Callable[[Trial], None] = lambda trial: None,
) -> Report:
    """Make runs of these numbers amid faults, and report."""
    return Harness(seed, in_flight=in_flight, timeout=timeout, tell=tell).run(runs, required)
