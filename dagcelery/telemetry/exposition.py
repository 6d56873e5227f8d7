"""Metrics as Prometheus reads them: the counters of the store, and what a look at the store says now."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from dagcelery.errors import DagceleryError
from dagcelery.store.fleet import live_consumers
from dagcelery.store.protocol import Store, Waiting
from dagcelery.telemetry.metrics import COUNTED, MICROS, OTHER, SUM, Family, sample_of

READY: Final = Family("ready_pieces", "Pieces that wait for a worker.", ("queue",))
OLDEST: Final = Family("oldest_ready_seconds", "How long the piece is ready that waits longest, else 0.", ("queue",))
ACTIVE: Final = Family("active_runs", "Runs that are not over.", ("dag",))
LEFT_OUT: Final = Family("runs_not_counted", "Active runs that were not looked at, since there are more than 1,000.")
WORKERS: Final = Family("workers", "Workers that live and consume a queue.", ("queue",))
PROCESSES: Final = Family("worker_processes", "Processes of workers that live and consume a queue.", ("queue",))
UNSERVED: Final = Family("queue_without_worker", "1 if pieces are ready for which no worker lives, else 0.", ("queue",))
BYTES: Final = Family("store_bytes", "Memory that the store's server uses, for everything on it.")
SCRAPE: Final = Family("scrape_duration_seconds", "How long it took to read this from the store.")
UP: Final = Family("up", "1 if the store could be read, else 0.")
GAUGES: Final = (READY, OLDEST, ACTIVE, LEFT_OUT, WORKERS, PROCESSES, UNSERVED, BYTES, SCRAPE, UP)

_PREFIX: Final = "dagcelery_"
_MOST_RUNS: Final = 1_000
_MOST_NAMES: Final = 500
_KEPT_SECONDS: Final = 5.0

Values = Mapping[tuple[str, ...], float]


def registry_of(store: Callable[[], Store], dead_seconds: float) -> CollectorRegistry:
    """Return a registry that has the metrics of a store, and nothing of this process."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(store, dead_seconds))
    return registry


class Exposition:
    """The metrics of a store as text."""

    def __init__(self, store: Callable[[], Store], dead_seconds: float) -> None:
        self._registry = registry_of(store, dead_seconds)

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return text, in the format that a scraper says that it takes, and its media type."""
        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind


class StoreCollector(Collector):
    """Reads a store when it is asked, and answers the same for five seconds: several may ask."""

    def __init__(self, store: Callable[[], Store], dead_seconds: float) -> None:
        self._store = store
        self._dead_seconds = dead_seconds
        self._lock = threading.Lock()
        self._kept: tuple[float, Sequence[Metric]] = (0.0, ())

    def describe(self) -> Iterator[Metric]:
        """Name nothing ahead, which would read the store."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Read the store."""
        with self._lock:
            read_at, metrics = self._kept
            if not metrics or time.monotonic() - read_at > _KEPT_SECONDS:
                metrics = self._read()
                self._kept = time.monotonic(), metrics
        yield from metrics

    def _read(self) -> list[Metric]:
        began = time.perf_counter()
        try:
            store = self._store()
            metrics = [*_counted(store.fleet.counted()), *self._look(store)]
        except DagceleryError:
            return [_gauge(UP, {(): 0})]
        took = time.perf_counter() - began
        return [*metrics, _gauge(SCRAPE, {(): took}), _gauge(UP, {(): 1})]

    def _look(self, store: Store) -> Iterator[Metric]:
        names, number = store.fleet.active(_MOST_RUNS)
        found = store.reader.waiting(names)
        dags = Counter[tuple[str, ...]]((run.dag,) for run in found.values())
        yield _gauge(ACTIVE, dags)
        yield _gauge(LEFT_OUT, {(): max(0, number - _MOST_RUNS)})
        workers, processes = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
        for queue, worker in live_consumers(store.fleet, self._dead_seconds):
            workers[(queue,)] += 1
            processes[(queue,)] += worker["slots"]
        yield from _ready([row for run in found.values() for row in run.waiting], workers)
        yield _gauge(WORKERS, workers)
        yield _gauge(PROCESSES, processes)
        used = store.fleet.used_bytes()
        yield from () if used is None else (_gauge(BYTES, {(): used}),)


def _ready(waiting: Sequence[Waiting], workers: Values) -> Iterator[Metric]:
    """What waits by queue; queues with workers are named too where nothing does, so that a series does not end."""
    pieces, oldest = Counter(dict.fromkeys(workers, 0)), dict.fromkeys(workers, 0.0)
    for row in waiting:
        pieces[(row.queue,)] += row.pieces
        oldest[(row.queue,)] = max(oldest.get((row.queue,), 0.0), row.seconds or 0.0)
    yield _gauge(READY, pieces)
    yield _gauge(OLDEST, oldest, max)
    yield _gauge(UNSERVED, {queue: int(number > 0 and queue not in workers) for queue, number in pieces.items()}, max)


def _gauge(family: Family, values: Values, together: Callable[[float, float], float] = lambda a, b: a + b) -> Metric:
    gauge = GaugeMetricFamily(_PREFIX + family.name, family.help, labels=family.labels)
    named: dict[tuple[str, ...], float] = {}
    for labels, value in sorted(values.items()):
        known = labels if len(named) < _MOST_NAMES else tuple(OTHER for _ in labels)
        named[known] = together(named[known], value) if known in named else value
    for labels, value in named.items():
        gauge.add_metric(labels, value)
    return gauge


def _counted(counters: Mapping[str, int]) -> Iterator[Metric]:
    found: dict[str, dict[tuple[str, ...], dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for field, number in counters.items():
        name, labels, part = sample_of(field)
        found[name][labels][part] = number
    for family in COUNTED:
        series = found[family.name]
        yield _histogram(family, series) if family.buckets else _counter(family, series)


def _counter(family: Family, series: Mapping[tuple[str, ...], Mapping[str, int]]) -> Metric:
    counter = CounterMetricFamily(_PREFIX + family.name, family.help, labels=family.labels)
    for labels, parts in sorted(series.items()):
        counter.add_metric(labels, parts.get("", 0))
    return counter


def _histogram(family: Family, series: Mapping[tuple[str, ...], Mapping[str, int]]) -> Metric:
    histogram = HistogramMetricFamily(_PREFIX + family.name, family.help, labels=family.labels)
    bounds = [*family.buckets, float("inf")]
    for labels, parts in sorted(series.items()):
        numbers = {float(bound): number for bound, number in parts.items() if bound != SUM}
        upto = [(bound, sum(n for at, n in numbers.items() if at <= bound)) for bound in bounds]
        buckets = [("+Inf" if bound == bounds[-1] else str(float(bound)), number) for bound, number in upto]
        histogram.add_metric(labels, buckets, parts.get(SUM, 0) / MICROS)
    return histogram
