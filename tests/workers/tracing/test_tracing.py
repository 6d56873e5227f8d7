"""One trace a run, of spans that several processes emit, each its part."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs opentelemetry-sdk: pip install 'dagcelery[otel]'")

from opentelemetry.sdk.trace import TracerProvider

from dagcelery.client import Client, Run, set_default
from dagcelery.errors import NodeFailed, RunCancelled, RunTimedOut
from dagcelery.local import cluster
from dagcelery.store.records import ROOT, PieceId
from dagcelery.telemetry.tracing import epoch_span_id, scope_span_id, span_id

sys.path.insert(0, str(Path(__file__).parent))

import traced

SECONDS = 60.0
OF_RUN = "dagcelery.epoch"
Span = dict[str, Any]


class Team:
    """Two processes that write their spans to a file."""

    def __init__(self, client: Client, spans: Path) -> None:
        self.client = client
        self.spans = spans

    def all(self) -> list[Span]:
        """All spans so far."""
        return [json.loads(line) for line in self.spans.read_text().splitlines()] if self.spans.exists() else []

    def of(self, run: Run[Any], count: int = 1, *, epoch: int = 1, trace_id: str = "") -> list[Span]:
        """The spans of a run's trace, once its own span and so many in all are there."""
        wanted = f"0x{trace_id or run.id}"
        spans = list[Span]()

        def is_told() -> bool:
            spans[:] = [span for span in self.all() if span["context"]["trace_id"] == wanted]
            return len(spans) >= count and any(span["attributes"].get(OF_RUN) == epoch for span in spans)

        await_true(is_told)
        return spans


def await_true(condition: Callable[[], object]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def session_team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    spans = tmp_path_factory.mktemp("traced") / "spans"
    environment = {"DAGCELERY_TRACE": "link", "SPANS": str(spans)}
    environment |= {"DAGCELERY_HEARTBEAT_SECONDS": "0.2", "DAGCELERY_DEAD_SECONDS": "1"}
    with cluster(workers=2, modules="traced", environment=environment) as made:
        set_default(None)
        yield Team(made.client, spans)


@pytest.fixture
def team(session_team: Team) -> Iterator[Team]:
    replaced = set_default(session_team.client)
    yield session_team
    set_default(replaced)


def shown(number: int) -> str:
    return f"0x{number:016x}"


def id_of(span: Span) -> str:
    return str(span["context"]["span_id"])


def parents(spans: list[Span]) -> dict[str, str]:
    """The name or node of each span with that of its parent; no two spans have one id."""
    names = {id_of(span): span["attributes"].get("dagcelery.node", span["name"]) for span in spans}
    assert len(names) == len(spans)
    return {names[id_of(span)]: names.get(span["parent_id"], span["parent_id"]) for span in spans}


def named(spans: list[Span], node: str) -> list[Span]:
    """The spans of a node's attempts, in their order."""
    found = [span for span in spans if span["attributes"].get("dagcelery.node") == node]
    return sorted(found, key=lambda span: span["attributes"].get("dagcelery.attempt", 0))


def test_each_piece_is_a_span_below_the_run_with_ids_that_follow_from_their_places(team: Team) -> None:
    run = traced.fetched.submit(n=3)
    assert run.result(timeout=SECONDS) == 3
    spans = [span for span in team.of(run, 9) if span["name"] != "GET"]
    expected = {("numbers", -1): 0, ("fetch[0]", 0): 1, ("fetch[1]", 1): 1, ("fetch[2]", 2): 1, ("total", -1): 2}
    ids = {node: shown(span_id(run.id, ROOT, step, index, 1)) for (node, index), step in expected.items()}
    assert {span["attributes"].get("dagcelery.node", "run"): id_of(span) for span in spans} == {
        **ids,
        "run": shown(scope_span_id(run.id, ROOT)),
    }
    assert parents(spans) == {**dict.fromkeys(ids, "traced:fetched"), "traced:fetched": None}


def test_a_piece_says_where_it_ran_for_which_attempt_and_how_long_it_waited(team: Team) -> None:
    run = traced.fetched.submit(n=3)
    run.result(timeout=SECONDS)
    (item,) = named(team.of(run, 9), "fetch[1]")
    waited = item["attributes"].pop("dagcelery.waited_seconds")
    assert waited >= 0
    assert item["attributes"] == {
        "dagcelery.run": run.id,
        "dagcelery.dag": "traced:fetched",
        "dagcelery.node": "fetch[1]",
        "dagcelery.item": 1,
        "dagcelery.attempt": 1,
        "dagcelery.queue": "celery",
        "dagcelery.state": "done",
        "cicd.pipeline.name": "traced:fetched",
        "cicd.pipeline.run.id": run.id,
        "cicd.pipeline.task.name": "fetch",
        "cicd.pipeline.task.run.id": f"{PieceId(ROOT, 1, 1).name}@1",
        "cicd.pipeline.task.run.result": "success",
    }


def test_a_join_links_to_a_fan_out_once(team: Team) -> None:
    run = traced.fetched.submit(n=3)
    run.result(timeout=SECONDS)
    spans = team.of(run, 9)
    (total,), (first,), (item,) = named(spans, "total"), named(spans, "fetch[0]"), named(spans, "fetch[1]")
    assert [link["context"]["span_id"] for link in total["links"]] == [id_of(first)]
    assert item["links"] == []


def test_what_a_task_traces_lies_in_the_span_of_its_own_piece(team: Team) -> None:
    run = traced.fetched.submit(n=20)
    run.result(timeout=SECONDS)
    spans = team.of(run, 43)
    items = {id_of(span) for span in spans if span["name"] == "fetch"}
    assert len(items) == 20
    assert Counter(span["parent_id"] for span in spans if span["name"] == "GET") == Counter(items)


def test_an_item_of_a_mapped_dag_is_a_span_around_its_pieces(team: Team) -> None:
    run = traced.pairs.submit(n=2)
    run.result(timeout=SECONDS)
    spans = [span for span in team.of(run, 13) if span["name"] != "GET"]
    found = parents(spans)
    assert found["pair[1]/fetch"] == found["pair[1]/fetch-2"] == "pair[1]"
    assert found["pair[0]"] == found["pair[1]"] == "traced:pairs"
    (item,), (inner,) = named(spans, "pair[1]"), named(spans, "pair[1]/fetch-2")
    assert item["start_time"] <= inner["start_time"]


def test_each_attempt_is_a_span_with_its_error(team: Team) -> None:
    run = traced.moody.submit(x=7)
    run.result(timeout=SECONDS)
    first, second, third = named(team.of(run), "moody")
    assert [each["attributes"]["dagcelery.state"] for each in (first, second, third)] == ["retried", "retried", "done"]
    assert first["status"] == {"status_code": "ERROR", "description": "ValueError: not yet 7"}
    assert first["attributes"]["error.type"] == "ValueError"
    assert third["status"] == {"status_code": "UNSET"}


def test_a_killed_attempt_has_no_span_and_the_next_one_has(team: Team) -> None:
    run = traced.deadly.submit(x=7)
    run.result(timeout=SECONDS)
    (span,) = named(team.of(run), "deadly")
    assert span["attributes"]["dagcelery.attempt"] == 2
    assert span["parent_id"] == shown(scope_span_id(run.id, ROOT))


def test_a_resumed_run_is_a_further_span_below_the_first_one(team: Team) -> None:
    run = traced.hardy.submit(x=7)
    with pytest.raises(NodeFailed):
        run.result(timeout=SECONDS)
    failed = team.of(run)
    (root,) = [span for span in failed if OF_RUN in span["attributes"]]
    assert root["attributes"]["cicd.pipeline.result"] == "failure"
    assert root["status"] == {"status_code": "ERROR", "description": "ValueError: broken"}
    team.spans.with_suffix(".mended").touch()
    run.resume()
    run.result(timeout=SECONDS)
    spans = team.of(run, epoch=2)
    (again,) = [span for span in spans if span["attributes"].get(OF_RUN) == 2]
    assert (id_of(again), again["parent_id"]) == (shown(epoch_span_id(run.id, 2)), id_of(root))
    assert again["start_time"] >= root["end_time"]
    assert [each["attributes"]["dagcelery.state"] for each in named(spans, "fragile")] == ["failed", "done"]


def test_a_run_that_a_client_cancels_or_a_sweep_ends_has_its_span_too(team: Team) -> None:
    run = team.client.submit(traced.endless, {"x": 7}, deadline=0.2)
    with pytest.raises(RunTimedOut):
        run.result(timeout=SECONDS)
    cancelled = team.client.submit(traced.endless, {"x": 7})
    cancelled.cancel("changed my mind", terminate=True)
    with pytest.raises(RunCancelled):
        cancelled.result(timeout=SECONDS)
    for ended, result in ((run, "timeout"), (cancelled, "cancellation")):
        (root,) = [span for span in team.of(ended) if OF_RUN in span["attributes"]]
        assert root["attributes"]["cicd.pipeline.result"] == result
    assert root["status"]["description"] == "changed my mind"
    team.spans.with_suffix(".over").touch()


def test_a_large_fan_out_is_a_span_for_each_committed_range(team: Team) -> None:
    run = traced.fetched.submit(n=3_000)
    run.result(timeout=SECONDS)
    await_true(lambda: sum(span["attributes"]["dagcelery.items"] for span in named(team.of(run), "fetch")) == 3_000)
    spans = team.of(run)
    ranges = named(spans, "fetch")
    assert len(ranges) < 1_000
    assert {span["parent_id"] for span in spans if span["name"] == "GET"} == {id_of(span) for span in ranges}
    (total,) = named(spans, "total")
    assert total["links"][0]["context"]["span_id"] in {id_of(span) for span in ranges}


@pytest.mark.parametrize("mode", ["link", "child"])
def test_the_submitters_span_is_a_link_of_the_run_or_its_parent(team: Team, mode: Any) -> None:
    client = Client(replace(team.client.settings, trace=mode))
    with TracerProvider().get_tracer("web").start_as_current_span("POST /orders") as span:
        run = client.submit(traced.fetched, {"n": 1})
    submitter = span.get_span_context()
    trace_id, number = f"{submitter.trace_id:032x}", shown(submitter.span_id)
    run.result(timeout=SECONDS)
    spans = team.of(run, 5, trace_id="" if mode == "link" else trace_id)
    (root,) = [span for span in spans if OF_RUN in span["attributes"]]
    assert [link["context"]["span_id"] for link in root["links"]] == ([number] if mode == "link" else [])
    assert root["parent_id"] == (None if mode == "link" else number)
    assert len(spans) == 5


def test_the_record_of_a_run_keeps_the_submitters_span(team: Team) -> None:
    with TracerProvider().get_tracer("web").start_as_current_span("POST /orders") as span:
        run = team.client.submit(traced.fetched, {"n": 1})
    submitter = span.get_span_context()
    traceparent = f"00-{submitter.trace_id:032x}-{submitter.span_id:016x}"
    assert team.client.control.record(run.id).trace.startswith(f"link {traceparent}-")
    run.result(timeout=SECONDS)
