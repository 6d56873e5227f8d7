"""Sentry, OpenTelemetry's instrumentor for Celery and a JSON formatter see pieces, on one worker of a team's app."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dagcelery.client import set_default
from dagcelery.errors import NodeFailed

from .hard import eventually
from .site import USERLAND, Site, bare_environment, site

for package in ("opentelemetry.sdk", "opentelemetry.instrumentation.celery", "pythonjsonlogger"):
    pytest.importorskip(package)
beside: Any = pytest.importorskip("beside")  # with sentry-sdk and structlog

SECONDS = 60.0
TAGS = ("dag", "node", "item", "attempt", "queue")


class Sentry(ThreadingHTTPServer):
    """Takes envelopes, as Sentry's server does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Envelopes)
        self.items: list[dict[str, Any]] = []
        self.text = ""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.server_port}/1"

    def events(self, kind: str = "event") -> list[dict[str, Any]]:
        return [item for item in list(self.items) if item["kind"] == kind]

    def of(self, run_id: str) -> list[dict[str, Any]]:
        return [event for event in self.events() if event.get("tags", {}).get("run") == run_id]


class Envelopes(BaseHTTPRequestHandler):
    server: Sentry

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        text = (gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body).decode()
        self.server.text += text
        _, *lines = text.splitlines()
        for header, payload in zip(lines[::2], lines[1::2], strict=False):
            self.server.items.append(json.loads(payload) | {"kind": json.loads(header)["type"]})
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Seen:
    """What the tools of a team saw of its workers."""

    other: subprocess.Popen[str]

    def __init__(self, made: Site, sentry: Sentry, spans: Path) -> None:
        self.site, self.sentry, self._spans = made, sentry, spans
        told = {"SENTRY_DSN": sentry.dsn, "SPANS": str(spans), "OTEL_BSP_SCHEDULE_DELAY": "50"}
        self.environment = made.cluster.environment | made.team | told

    def failed(self, node: Any, **params: Any) -> str:
        """Submit what fails; the run's id."""
        run = node.submit(**params)
        with pytest.raises(NodeFailed):
            run.result(timeout=SECONDS)
        return str(run.id)

    def done(self, node: Any, **params: Any) -> tuple[str, Any]:
        run = node.submit(**params)
        return run.id, run.result(timeout=SECONDS)

    def settle(self) -> None:
        """Wait for an event and a span that come after all others: the worker has one process."""
        run_id = self.failed(beside.breaks, x=0)
        eventually(lambda: self.sentry.of(run_id) and self.spans(run_id), 10)

    def spans(self, run_id: str = "") -> list[dict[str, Any]]:
        lines = self._spans.read_text().splitlines() if self._spans.exists() else []
        found = [json.loads(line) for line in lines]
        return [span for span in found if run_id in ("", span["attributes"].get("messaging.conversation_id"))]

    def lines(self, run_id: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.site.workers["beside"].lines if line.startswith("{")]
        return [line for line in found if line.get("run") == run_id]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A worker of one process, and one of two threads."""
    spans, sentry = tmp_path_factory.mktemp("traced") / "spans", Sentry()
    with site() as made:
        found = Seen(made, sentry, spans)
        made.hire("beside", "-c", "1", app="beside_team", env=found.environment)
        pool = ("-P", "threads", "-c", "2", "-Q", "threads")
        made.hire("threads", *pool, app="beside_team", env=found.environment | {"POOL": "threads"})
        code = [sys.executable, "-c", "import ticking; ticking.come(); ticking.submit()"]
        environment = bare_environment(found.environment | {"DAGCELERY_IMPORTS": "ticking"})
        found.other = subprocess.Popen(code, cwd=USERLAND, env=environment, stdout=subprocess.PIPE, text=True)
        made.await_ready()
        replaced = set_default(made.client)
        yield found
        set_default(replaced)
        found.other.communicate()
    sentry.shutdown()
    sentry.server_close()


def error_of(event: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = event["exception"]["values"][-1]
    return found


# -- logs -----------------------------------------------------------------------------------------
def test_what_a_task_logs_by_any_logger_names_its_piece_in_json(seen: Seen) -> None:
    run_id, _ = seen.done(beside.each_logs, n=2)
    eventually(lambda: [line for line in seen.lines(run_id) if line.get("action") == "run_ended"])
    told = [line for line in seen.lines(run_id) if " by " in line["message"]]
    assert f"item 1 by alone of {run_id}, theirs" in seen.site.workers["beside"].lines
    dag = "beside:each_logs"
    assert [(line["name"], *(line[tag] for tag in TAGS)) for line in told] == [
        (name, dag, f"logs[{item}]", item, 1, "celery") for item in (0, 1) for name in ("shop.orders", "beside")
    ]


def test_records_from_outside_of_pieces_have_no_more_fields_than_before(seen: Seen) -> None:
    lines = [json.loads(line) for line in seen.site.workers["beside"].lines if line.startswith("{")]
    assert [line for line in lines if line["message"].startswith("Connected to")]
    assert not [line for line in lines if "node" in line and "run" not in line]


# -- Sentry ---------------------------------------------------------------------------------------
def test_each_final_failure_is_one_event_with_tags_and_the_task_s_own_frames(seen: Seen) -> None:
    run_id = seen.failed(beside.breaks, x=7)
    tried = seen.failed(beside.flaky, last=3)
    seen.settle()
    (event,) = seen.sentry.of(run_id)
    assert {tag: event["tags"].get(tag) for tag in TAGS} == {
        **dict.fromkeys(TAGS),
        "dag": "beside:breaks",
        "node": "breaks",
        "attempt": "1",
        "queue": "celery",
    }
    assert (event["transaction"], event["extra"]["celery-job"]["task_name"]) == ("beside:breaks.breaks",) * 2
    assert (error_of(event)["value"], error_of(event)["mechanism"]["handled"]) == ("no 7", False)
    assert [frame["function"] for frame in error_of(event)["stacktrace"]["frames"]] == ["breaks"]
    (event,) = seen.sentry.of(tried)
    assert (error_of(event)["type"], event["tags"]["attempt"]) == ("ConnectionError", "2")


def test_repeated_attempts_and_items_that_may_be_left_out_are_none(seen: Seen) -> None:
    done = [seen.done(beside.flaky, last=2)[0], seen.done(beside.sieve, n=3)[0]]
    item = seen.failed(beside.each_breaks, n=1)
    seen.settle()
    assert [seen.sentry.of(run_id) for run_id in done] == [[], []]
    assert [event["tags"]["item"] for event in seen.sentry.of(item)] == ["0"]


def test_a_sensitive_task_s_values_reach_nobody(seen: Seen) -> None:
    run_id = seen.failed(beside.charge, card=beside.SECRET)
    seen.settle()
    (event,) = seen.sentry.of(run_id)
    assert error_of(event)["type"] == "ValueError"
    assert "in charge" in event["extra"]["traceback"]
    everything = seen.sentry.text + json.dumps(seen.spans()) + "".join(seen.site.workers["beside"].lines)
    assert beside.SECRET not in everything


def test_what_one_piece_sets_is_in_no_event_of_the_next(seen: Seen) -> None:
    run_id, _ = seen.done(beside.marked)
    seen.settle()
    (event,) = seen.sentry.of(run_id)
    assert (event["message"], event["tags"]["node"], event["tags"].get("mark")) == ("reported", "reports", None)
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"] if crumb.get("message") == "a mark"] == []


@pytest.mark.usefixtures("submitted")
def test_check_ins_of_beat_pair_up(seen: Seen) -> None:
    found = [(each["monitor_slug"], each["status"]) for each in seen.sentry.events("check_in")]
    assert found == [("dagcelery ticking:often", "in_progress"), ("dagcelery ticking:often", "ok")]
    assert len({each["check_in_id"] for each in seen.sentry.events("check_in")}) == 1


@pytest.fixture(scope="module")
def submitted(seen: Seen) -> str:
    """What another process of the team has submitted within a span; in that one, a tick has come, too."""
    run_id, _ = seen.other.communicate(timeout=SECONDS)
    assert seen.other.returncode == 0
    return str(run_id.strip())


# -- OpenTelemetry --------------------------------------------------------------------------------
def test_each_piece_is_one_span_below_that_of_its_message(seen: Seen) -> None:
    first, _ = seen.done(beside.each_logs, n=3)
    second, _ = seen.done(beside.sieve, n=2)
    seen.settle()
    names = [span["name"].rpartition(".")[2] for span in seen.spans(first)]
    assert sorted(names) == ["logs", "logs", "logs", "numbers"]
    messages = {span["context"]["span_id"]: span for span in seen.spans() if span["name"] == "run/dagcelery.work"}
    traces = [{span["context"]["trace_id"] for span in seen.spans(run_id)} for run_id in (first, second)]
    assert not traces[0] & traces[1]
    for span in (*seen.spans(first), *seen.spans(second)):
        assert messages[span["parent_id"]]["context"]["trace_id"] == span["context"]["trace_id"]


def test_a_submitter_s_span_is_an_ancestor_of_each_piece_s(seen: Seen, submitted: str) -> None:
    seen.settle()
    spans = {span["context"]["span_id"]: span for span in seen.spans()}
    found = seen.spans(submitted)
    assert len(found) == 3
    for span in found:
        names = [span["name"].partition("/")[0]]
        while span["parent_id"] is not None:
            span = spans[span["parent_id"]]
            names.append(span["name"])
        assert names == ["run", "run/dagcelery.work", "apply_async/dagcelery.work", "caller"]


def test_a_final_failure_is_an_error_and_a_repeated_attempt_says_why(seen: Seen) -> None:
    run_id = seen.failed(beside.flaky, last=3)
    seen.settle()
    first, last = seen.spans(run_id)
    assert (first["status"]["status_code"], last["status"]["status_code"]) == ("UNSET", "ERROR")
    assert first["attributes"]["celery.retry.reason"] == "not yet"
    assert [event["attributes"]["exception.type"] for event in last["events"]] == ["ConnectionError"]


def test_none_of_them_logs_an_error(seen: Seen) -> None:
    run_id = seen.failed(beside.flaky, last=3)
    eventually(lambda: [line for line in seen.lines(run_id) if line.get("action") == "run_ended"])
    lines = [line for worker in seen.site.workers.values() for line in worker.lines if line.startswith("{")]
    odd = [line for line in map(json.loads, lines) if line["levelname"] in ("ERROR", "CRITICAL")]
    assert {line.get("action") for line in odd} == {"failed"}
    for said in ("no existing span", "Failed to detach", "Invalid type", "Overriding"):
        assert said not in "".join(lines)


# -- claims ---------------------------------------------------------------------------------------
def test_what_a_worker_without_children_claims_bears_its_name(seen: Seen) -> None:
    """Else all take it for lost once it has lasted for some seconds, and execute it again and again."""
    run_id, _ = seen.done(beside.meeting)
    (worker,) = [name for name in seen.site.client.store.fleet.workers() if name.startswith("threads@")]
    owners = {event.owner.partition(":")[0] for event in seen.site.client.store.reader.events(run_id, "", 100)}
    assert owners - {""} == {worker}


# -- contexts -------------------------------------------------------------------------------------
def test_in_threads_each_piece_has_contexts_of_its_own(seen: Seen) -> None:
    _, (first, second, after) = seen.done(beside.meeting)
    assert first == second == [["", {}, 28], True]
    assert after == ["", {}, 28]
