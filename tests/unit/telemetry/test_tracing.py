"""Spans of runs in this process, where a test sees what its tracer provider was given."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from celery import Celery

pytest.importorskip("opentelemetry.sdk", reason="needs opentelemetry-sdk: pip install 'dagcelery[otel]'")

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased

from dagcelery import Cache, attach, dag, invoke, task
from dagcelery.errors import NodeFailed, NotConfigured
from dagcelery.store.records import RunRecord
from dagcelery.telemetry.tracing import Tracing


class Team:
    """A team's tracer provider, which tests may replace."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.sample(ParentBased(TraceIdRatioBased(1.0)))

    def sample(self, sampler: Sampler) -> None:
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    team = Team()
    monkeypatch.setenv("DAGCELERY_TRACE", "link")
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: team.provider)
    return team


@task
def tell(x: int) -> int:
    with trace.get_tracer_provider().get_tracer("http").start_as_current_span("GET"):
        return x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def told(x: int) -> int:
    return tell(x)


def test_invoke_is_traced_as_workers_are(team: Team) -> None:
    invoke(told, {"x": 1})
    spans = team.spans()
    run, piece, inner = (spans[name] for name in (told.__dag__().name, "tell", "GET"))
    assert (inner.parent.span_id, piece.parent.span_id) == (piece.context.span_id, run.context.span_id)
    assert f"{run.context.trace_id:032x}" == run.attributes["dagcelery.run"]
    assert run.start_time <= piece.start_time <= inner.start_time <= inner.end_time <= piece.end_time


def test_a_run_that_is_not_sampled_leaves_no_span_not_even_of_its_tasks(team: Team) -> None:
    team.sample(ParentBased(ALWAYS_OFF))
    invoke(told, {"x": 1})
    assert team.spans() == {}


def test_half_of_the_runs_are_sampled_each_as_a_whole(team: Team) -> None:
    team.sample(ParentBased(TraceIdRatioBased(0.5)))
    for _ in range(64):
        invoke(told, {"x": 1})
    spans = team.exporter.get_finished_spans()
    traces = [span.context.trace_id for span in spans]
    assert 0 < len(set(traces)) < 64
    assert len(spans) == 3 * len(set(traces))


def test_a_join_of_many_has_128_links_and_says_how_many_are_left_out(team: Team) -> None:
    @dag
    def wide(x: int) -> int:
        return total([tell(x) for _ in range(130)])

    invoke(wide, {"x": 1})
    join = team.spans()["total"]
    assert len(join.links) == 128
    assert join.attributes["dagcelery.links_left_out"] == 2


def test_an_item_that_is_skipped_is_a_span_around_what_has_failed(team: Team) -> None:
    @task
    def pick(x: int) -> int:
        return 1 // x

    @dag
    def picked(x: int) -> int:
        return pick(tell(x))

    @dag
    def most(xs: list[int]) -> list[int]:
        return [picked.options(min_success=0.5)(x=x) for x in xs]

    invoke(most, {"xs": [0, 1]})
    spans = {str(span.attributes.get("dagcelery.node")): span for span in team.exporter.get_finished_spans()}
    skipped, failed = spans["picked[0]"], spans["picked[0]/pick"]
    assert (skipped.attributes["dagcelery.state"], spans["picked[1]"].attributes["dagcelery.state"]) == (
        "skipped",
        "done",
    )
    assert failed.parent.span_id == skipped.context.span_id
    assert failed.status.description == "ZeroDivisionError: integer division or modulo by zero"


def test_the_first_end_that_is_told_ends_the_runs_own_span(team: Team) -> None:
    record = RunRecord("ab" * 16, "shop", "done", 1.0, ended=9.0, epoch=2, pauses=[(3.0, 4.0)], untold=1)
    Tracing({record.id: record}.get).run_ended(record.id, "shop", "done", 7.0)
    (span,) = team.exporter.get_finished_spans()
    assert (span.parent, span.start_time, span.end_time) == (None, 1e9, 9e9)


def test_what_is_sensitive_is_in_no_span(team: Team) -> None:
    @task(sensitive=["secret"])
    def login(secret: str) -> int:
        raise ValueError(f"wrong password {secret}")

    with pytest.raises(NodeFailed):
        invoke(login, {"secret": "swordfish"})
    spans = team.exporter.get_finished_spans()
    assert [span.status.is_ok for span in spans] == [False, False]
    assert "swordfish" not in "".join(span.to_json() for span in spans)


def test_a_cached_result_is_a_span_that_says_so(team: Team) -> None:
    @task(cache=Cache(ttl=60))
    def slow(x: int) -> int:
        return x

    for _ in range(2):
        invoke(slow, {"x": 1})
    pieces = [span for span in team.exporter.get_finished_spans() if span.name == "slow"]
    assert ["dagcelery.cached" in span.attributes for span in pieces if "dagcelery.node" in span.attributes] == [
        False,
        True,
    ]


def test_a_process_without_a_provider_says_so_once_and_runs(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    team.provider = trace.NoOpTracerProvider()
    assert invoke(told, {"x": 1}) == 1
    assert [record.action for record in caplog.records] == ["not_traced"]


def test_attach_is_refused_where_the_sdk_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGCELERY_TRACE", "link")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "dagcelery.telemetry.tracing", raising=False)
    with pytest.raises(NotConfigured, match=r"pip install 'dagcelery\[otel\]'"):
        attach(Celery("shop", broker="redis://localhost:1"), store_url="redis://localhost:1")


def test_nothing_is_loaded_for_tracing_while_it_is_off() -> None:
    code = (
        "import sys, dagcelery.worker.app; print([name for name in sys.modules if name.endswith('telemetry.tracing')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
