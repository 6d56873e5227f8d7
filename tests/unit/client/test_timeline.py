"""A run as a trace keeps the rules of the format, and tells who executed what, after what, and nothing of values."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dagcelery import Retry, dag, errors, task, when
from dagcelery.client import lifecycle, timeline
from dagcelery.engine.pieces import current
from dagcelery.store.records import ClaimRequest, Event
from dagcelery.testing.lending import eager_client

from ..engine.worlds import World

COMMON = {"ph", "pid", "tid", "ts", "name"}


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task(retry=Retry(max_attempts=2, wait=0))
def stumbles(x: int) -> int:
    if x == 1 and current().attempt == 1:
        raise ValueError("s3cret")
    return x


@task
def double(x: int) -> int:
    return 2 * x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def inner(x: int) -> int:
    return double(double(x))


@dag
def flow(n: int) -> int:
    firsts = [stumbles(x) for x in numbers(n)]
    return total([double(x) for x in firsts])


@dag
def nested(n: int) -> int:
    return total([inner(x) for x in numbers(n)])


@task(dynamic=True)
def grows(n: int) -> Any:
    return total([double(x) for x in range(n)])


@dag
def choosing(n: int) -> int:
    return when(grows(n), then=lambda: double(1), otherwise=lambda: double(2))


def checked(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a trace that keeps the rules."""
    events = json.loads(json.dumps(trace))["traceEvents"]
    assert all(event.keys() >= COMMON for event in events)
    assert {event["ph"] for event in events} <= {"X", "M", "s", "f"}
    assert all(type(event[name]) is int and event[name] >= 0 for event in events for name in ("ts", "pid", "tid"))
    slices = [event for event in events if event["ph"] == "X"]
    assert all(type(event["dur"]) is int and event["dur"] > 0 for event in slices)
    named = {(event["name"], event["pid"], event["tid"]) for event in events if event["ph"] == "M"}
    used = {(event["pid"], event["tid"]) for event in events if event["ph"] != "M"}
    assert {("process_name", pid, 0) for pid, _ in used} | {("thread_name", *place) for place in used} <= named
    of_tracks = sorted((event["pid"], event["tid"], event["ts"], event["ts"] + event["dur"]) for event in slices)
    for before, after in itertools.pairwise(of_tracks):
        assert before[:2] != after[:2] or after[2] >= before[3], "slices of a track overlap"
    check_arrows(events, slices)
    return events


def check_arrows(events: list[dict[str, Any]], slices: list[dict[str, Any]]) -> None:
    begins = {event["id"]: event for event in events if event["ph"] == "s"}
    ends = {event["id"]: event for event in events if event["ph"] == "f"}
    assert begins.keys() == ends.keys()
    assert len(begins) == sum(event["ph"] == "s" for event in events)
    for number, begin in begins.items():
        assert begin["ts"] <= ends[number]["ts"]
        assert ends[number]["bp"] == "e"
        for end in (begin, ends[number]):
            assert around(end, slices), "an arrow begins and ends within slices"


def around(flow: dict[str, Any], slices: list[dict[str, Any]]) -> list[str]:
    """The slices on whose time an arrow's end lies."""
    place = flow["pid"], flow["tid"]
    return [
        each["name"]
        for each in slices
        if (each["pid"], each["tid"]) == place and each["ts"] <= flow["ts"] < each["ts"] + each["dur"]
    ]


def arrows(events: list[dict[str, Any]]) -> Counter[tuple[str, str, str]]:
    slices = [event for event in events if event["ph"] == "X"]
    begins = {event["id"]: event for event in events if event["ph"] == "s"}
    ends = (event for event in events if event["ph"] == "f")
    return Counter((end["name"], around(begins[end["id"]], slices)[0], around(end, slices)[0]) for end in ends)


def names(events: list[dict[str, Any]]) -> list[str]:
    return sorted(event["name"] for event in events if event["ph"] == "X" and event["pid"] > 2)


def test_a_trace_has_a_slice_for_each_piece_and_arrows_for_what_it_waited_for() -> None:
    world = World()
    run = world.ended(flow, n=3)
    trace = timeline.trace(world.client, run)
    events = checked(trace)
    assert names(events) == sorted(
        [
            "numbers",
            *(f"stumbles[{x}]" for x in (0, 2)),
            "stumbles[1] (failed, tried again)",
            "stumbles[1] (attempt 2)",
            *(f"double[{x}]" for x in range(3)),
            "total",
        ]
    )
    assert arrows(events) == Counter(
        [
            *(("waits for", "numbers", f"stumbles[{x}]") for x in (0, 2)),
            ("waits for", "numbers", "stumbles[1] (failed, tried again)"),
            ("retry", "stumbles[1] (failed, tried again)", "stumbles[1] (attempt 2)"),
            *(("waits for", f"stumbles[{x}]", f"double[{x}]") for x in (0, 2)),
            ("waits for", "stumbles[1] (attempt 2)", "double[1]"),
            *(("waits for", f"double[{x}]", "total") for x in range(3)),
        ]
    )
    assert {event["cname"] for event in events if event.get("cat") == "retried"} == {"bad"}
    assert trace["otherData"]["state"] == "done"
    assert "s3cret" not in json.dumps(trace)


def test_arrows_lead_into_nested_graphs_and_out_of_them() -> None:
    world = World()
    events = checked(timeline.trace(world.client, world.ended(nested, n=2)))
    found = arrows(events)
    for x in range(2):
        assert found["waits for", "numbers", f"inner[{x}]/double"] == 1
        assert found["waits for", f"inner[{x}]/double", f"inner[{x}]/double-2"] == 1
        assert found["waits for", f"inner[{x}]/double-2", f"inner[{x}]"] == 1
        assert found["waits for", f"inner[{x}]", "total"] == 1
    chosen = checked(timeline.trace(world.client, world.ended(choosing, n=2)))
    assert ("waits for", "grows/total", "grows") in arrows(chosen)


def test_a_run_that_goes_on_shows_what_is_being_executed() -> None:
    world = World()
    run = world.submit(flow, n=3)
    checked(timeline.trace(world.client, run))
    claimed = world.store.machine.claim(run, ClaimRequest("celery", "worker9~1:77:1", "token")).claim
    assert claimed is not None
    events = checked(timeline.trace(world.client, run))
    assert names(events) == ["numbers (running)"]
    assert {"worker9", "pid 77"} <= {event["args"].get("name") for event in events if event["ph"] == "M"}


def test_what_was_executed_again_comes_after_the_newest_attempts_of_what_it_waits_for() -> None:
    world = World()
    run = world.ended(flow, n=3)
    lifecycle.retry_from(world.client, run, "double[1]", None, allow_code_change=True)
    world.settle()
    events = checked(timeline.trace(world.client, run))
    found = arrows(events)
    assert found["waits for", "stumbles[1] (attempt 2)", "double[1] (attempt 2)"] == 1
    assert found["waits for", "double[1] (attempt 2)", "total (attempt 2)"] == 1
    assert found["waits for", "double[1]", "total"] == 1
    assert sum(event["pid"] == 1 and "resumed, 2" in event["name"] for event in events) == 1


def test_what_no_event_tells_of_any_more_is_shown_as_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    run = world.ended(flow, n=40)
    all_told, reader = world.events(run), world.client.store.reader
    missed = Event("0-0", "missed", "", 0, -1, 0, 0.0, 0.0)
    monkeypatch.setattr(reader, "events", lambda _, after, __: [] if after else [missed, *all_told[-30:]])
    trace = timeline.trace(world.client, run)
    events = checked(trace)
    ranges = {event["args"]["node"]: event["args"]["pieces"] for event in events if "pieces" in event.get("args", {})}
    told = sum(event.get("cat") == "done" for event in events)
    assert told == 29
    assert trace["otherData"]["pieces_not_kept"] == sum(ranges.values()) == 82 - told
    assert ranges["numbers"] == 1
    monkeypatch.setattr(timeline, "MOST_ARROWS", 5)
    short = timeline.trace(world.client, run)
    assert sum(event["ph"] == "s" for event in checked(short)) == 5
    assert short["otherData"]["arrows_left_out"] > 0


def test_items_that_were_committed_together_are_one_slice_each_range() -> None:
    world = World()
    run = world.ended(flow, n=1_500)
    events = checked(timeline.trace(world.client, run))
    ranges = [event for event in events if event.get("args", {}).get("items", 1) > 1]
    assert 0 < len(ranges) < 1_000
    assert sum(event["args"]["items"] for event in events if event["name"].startswith("double")) == 1_500


def test_a_worker_whose_clock_is_wrong_executes_in_the_time_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    run = world.ended(flow, n=3)
    right = timeline.trace(world.client, run)
    reader = world.client.store.reader
    kept = reader.events

    def late(run_id: str, after: str, limit: int) -> list[Any]:
        told = kept(run_id, after, limit)
        return [replace(each, started=each.started + 3600 * each.owner.startswith("worker1")) for each in told]

    monkeypatch.setattr(reader, "events", late)
    wrong = checked(timeline.trace(world.client, run))
    assert arrows(wrong) == arrows(checked(right))
    assert max(event["ts"] for event in wrong) < 60_000_000


def test_a_trace_is_written_to_a_file(tmp_path: Path) -> None:
    run = eager_client().submit(flow, {"n": 3})
    file = tmp_path / "run.json"
    assert run.trace(str(file)) == json.loads(file.read_text())
    run.delete()
    with pytest.raises(errors.RunNotFound):
        run.trace()
