"""Prometheus can read what is shown, and names, labels and documents keep its conventions."""

from __future__ import annotations

import re

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from checkout import ROOT
from dagcelery import errors
from dagcelery.store.in_process import store_in_process
from dagcelery.store.protocol import Store
from dagcelery.telemetry import exposition
from dagcelery.telemetry.exposition import GAUGES, Exposition, registry_of
from dagcelery.telemetry.metrics import COUNTED, RUN_SECONDS, Counters

ALL = (*COUNTED, *GAUGES)


def shown(store: Store) -> dict[tuple[str, ...], float]:
    """Samples by name and labels, as Prometheus' own parser reads them."""
    text = generate_latest(registry_of(lambda: store, 20.0)).decode()
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def counted(*dags: str) -> Store:
    store = store_in_process()
    counters = Counters(store.fleet)
    for dag in dags:
        counters.count_run(dag, "done", 7.0)
    counters.flush()
    return store


def test_a_histogram_is_cumulative_and_its_sum_is_in_seconds() -> None:
    found = shown(counted("shop", "shop", 'a "quoted"\n\\ name'))
    name = "dagcelery_run_duration_seconds"
    assert found["dagcelery_runs_total", "shop", "done"] == found[f"{name}_count", "shop", "done"] == 2
    assert found[f"{name}_sum", "shop", "done"] == pytest.approx(14)
    bounds = {labels[1]: n for labels, n in ((key[1:], n) for key, n in found.items() if key[0] == f"{name}_bucket")}
    assert len(bounds) == len(RUN_SECONDS.buckets) + 1
    assert found["dagcelery_runs_total", 'a "quoted"\n\\ name', "done"] == 1


def test_the_newer_format_that_prometheus_asks_for_tells_the_same() -> None:
    store = counted("shop")
    text, kind = Exposition(lambda: store, 20.0).text("application/openmetrics-text;version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    families = openmetrics.text_string_to_metric_families(text.decode())
    newer = {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}
    differing = {key for key, value in shown(store).items() if newer.get(key) != value}
    assert differing == {("dagcelery_scrape_duration_seconds",)}


def test_names_have_base_units_and_the_only_labels_are_dag_node_queue_and_state() -> None:
    for family in ALL:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", family.name), family
        assert not re.search(r"total|milli|_ms|minutes|bucket|count$|sum$", family.name), family
        assert set(family.labels) <= {"dag", "node", "queue", "state"}, family


def test_a_queue_is_named_while_it_has_workers_or_something_is_ready() -> None:
    store = store_in_process()
    store.fleet.heartbeat("w", ["cpu"], 3)
    found = shown(store)
    assert found["dagcelery_worker_processes", "cpu"] == 3
    assert found["dagcelery_ready_pieces", "cpu"] == found["dagcelery_queue_without_worker", "cpu"] == 0
    assert found["dagcelery_up",] == 1


def test_very_many_names_are_shown_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "_MOST_NAMES", 2)
    store = store_in_process()
    store.fleet.heartbeat("w", [f"q{number}" for number in range(5)], 1)
    found = shown(store)
    assert [found["dagcelery_workers", name] for name in ("q0", "q1", "(other)")] == [1, 1, 3]


def test_a_store_that_cannot_be_read_is_down_and_says_nothing_else() -> None:
    def store() -> Store:
        raise errors.StoreUnavailable("redis://nowhere", "refused")

    text, kind = Exposition(store, 20.0).text("")
    assert [line for line in text.decode().splitlines() if line[0] != "#"] == ["dagcelery_up 0.0"]
    assert kind.startswith("text/plain")


def test_the_document_has_each_metric_with_its_labels() -> None:
    rows = re.findall(r"^\| `dagcelery_(\w+)` \| ([^|]*) \|", (ROOT / "docs/howto/metrics.md").read_text(), re.M)
    is_counter = {family.name for family in COUNTED if not family.buckets}
    expected = [(f.name + "_total" * (f.name in is_counter), ", ".join(f"`{each}`" for each in f.labels)) for f in ALL]
    assert rows == expected
