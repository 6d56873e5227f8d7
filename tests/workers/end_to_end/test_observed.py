"""Flower and listeners to Celery's signals see each piece as a task: its name is dag.node, and no value is shown."""

from __future__ import annotations

import ast
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pipelines
import pytest

from dagcelery.errors import NodeFailed

from .hard import eventually
from .site import Site

SECONDS = 60.0
Event = dict[str, Any]
VALUE = 424_242


class Flower:
    """Receives events as Flower does."""

    def __init__(self, at: Site) -> None:
        self.events: list[Event] = []
        self._arrived = threading.Condition()
        is_listening = threading.Event()
        app = at.client.app_context.app
        self._connection = app.connection_for_read()
        self._receiver = app.events.Receiver(self._connection, handlers={"*": self._take})
        self._receiver.on_consume_ready = lambda *_, **__: is_listening.set()
        self._thread = threading.Thread(target=self._receiver.capture)
        self._thread.start()
        assert is_listening.wait(SECONDS)

    def _take(self, event: Event) -> None:
        with self._arrived:
            self.events.append(event)
            self._arrived.notify_all()

    def of(self, run_id: str, count: int) -> list[Event]:
        """The task events of a run's pieces, once there are so many."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self._found(run_id)) >= count, SECONDS), self._found(run_id)
            return self._found(run_id)

    def _found(self, run_id: str) -> list[Event]:
        return [event for event in self.events if event.get("uuid", "").startswith(run_id)]

    def close(self) -> None:
        self._receiver.should_stop = True
        self._thread.join()
        self._connection.release()


@pytest.fixture(scope="module")
def flower(session_site: Site) -> Iterator[Flower]:
    made = Flower(session_site)
    yield made
    made.close()


def kinds(events: list[Event]) -> dict[str, list[str]]:
    """What was told of each piece, in order."""
    found: dict[str, list[str]] = {}
    for event in events:
        found.setdefault(event["uuid"], []).append(event["type"].removeprefix("task-"))
    return found


def shown(events: list[Event]) -> list[tuple[str, dict[str, Any]]]:
    """Name and kwargs of each piece, as Flower reads them."""
    return [(event["name"], ast.literal_eval(event["kwargs"])) for event in events if event["type"] == "task-received"]


def test_each_node_is_received_started_and_succeeded_once(at: Site, flower: Flower) -> None:
    run = pipelines.watched_map.submit(start=VALUE)
    run.result(timeout=SECONDS)
    events = flower.of(run.id, 9)
    assert list(kinds(events).values()) == [["received", "started", "succeeded"]] * 3
    assert sorted(name for name, _ in shown(events)) == [
        "pipelines:watched_map.watched",
        "pipelines:watched_map.watched-2",
        "pipelines:watched_map.watched_total",
    ]


def test_each_item_of_a_fan_out_is_shown_with_its_index(at: Site, flower: Flower) -> None:
    run = pipelines.watched_fan_out.submit(xs=[VALUE] * 5)
    run.result(timeout=SECONDS)
    rows = shown(flower.of(run.id, 18))
    items = [kwargs for name, kwargs in rows if name.endswith(".watched")]
    assert sorted(items, key=lambda kwargs: kwargs["index"]) == [
        {"run": run.id, "node": "watched", "index": index} for index in range(5)
    ]


def test_a_failing_item_is_shown_as_failed(at: Site, flower: Flower) -> None:
    run = pipelines.watched_failure.submit(xs=[1, 2, 3])
    with pytest.raises(NodeFailed):
        run.result(timeout=SECONDS)
    events = flower.of(run.id, 6)
    (failed,) = [event for event in events if event["type"] == "task-failed"]
    assert failed["exception"].startswith("ValueError")
    name, kwargs = next(row for row in shown(events) if row[1].get("index") == 1)
    assert (name, kwargs["node"]) == ("pipelines:watched_failure.watched_boom", "watched_boom")


def test_no_value_is_in_any_event(at: Site, flower: Flower) -> None:
    run = pipelines.watched_fan_out.submit(xs=[VALUE] * 5)
    assert run.result(timeout=SECONDS) == 5 * VALUE
    flower.of(run.id, 18)
    assert flower.events
    assert str(VALUE) not in repr(flower.events)


def test_a_large_fan_out_is_shown_range_by_range(at: Site, flower: Flower) -> None:
    run = pipelines.watched_fan_out.submit(xs=[1] * 1_500)
    run.result(timeout=SECONDS)
    pipelines.watched_map.submit(start=1).result(timeout=SECONDS)
    names = [name for name, _ in shown(flower.of(run.id, 9))]
    assert 2 <= len(names) < 500


def test_a_worker_without_events_sends_none(at: Site, flower: Flower) -> None:
    quiet, watched = pipelines.map_reduce.submit(n=3), pipelines.watched_map.submit(start=1)
    quiet.result(timeout=SECONDS)
    watched.result(timeout=SECONDS)
    flower.of(watched.id, 9)
    assert not [event for event in flower.events if event.get("uuid", "").startswith(quiet.id)]


# -- signals --------------------------------------------------------------------------------------
def signals_of(heard: Path, run_id: str) -> list[dict[str, Any]]:
    """What listeners heard of a run."""
    told = [json.loads(line) for line in heard.read_text().splitlines()]
    return [signal for signal in told if signal["id"].startswith(run_id)]


def test_signals_fire_around_each_piece(at: Site, heard: Path) -> None:
    run = pipelines.watched_map.submit(start=VALUE)
    run.result(timeout=SECONDS)
    signals = signals_of(heard, run.id)
    around = [(signal["signal"], signal["name"].rpartition(".")[2]) for signal in signals]
    assert around == [
        (signal, node)
        for node in ("watched", "watched-2", "watched_total")
        for signal in ("task_prerun", "task_postrun")
    ]
    assert {signal["state"] for signal in signals} == {None, "SUCCESS"}
    assert str(VALUE) not in repr(signals)


def test_signals_fire_around_each_item_of_a_fan_out(at: Site, heard: Path) -> None:
    run = pipelines.watched_fan_out.submit(xs=[1] * 20)
    run.result(timeout=SECONDS)
    items = [signal for signal in signals_of(heard, run.id) if signal["name"].endswith(".watched")]
    assert [(signal["signal"], signal["kwargs"]["index"]) for signal in items] == [
        (signal, index) for index in range(20) for signal in ("task_prerun", "task_postrun")
    ]


def test_a_failing_piece_fires_task_failure_with_its_error(at: Site, heard: Path) -> None:
    run = pipelines.watched_failure.submit(xs=[1, 2, 3])
    with pytest.raises(NodeFailed):
        run.result(timeout=SECONDS)

    def found() -> list[tuple[str, str, str | None]]:
        told = [signal for signal in signals_of(heard, run.id) if signal["kwargs"].get("index") == 1]
        return [(signal["signal"], signal["exception"], signal["state"]) for signal in told]

    eventually(lambda: len(found()) == 3)  # a failure is told once the store has decided, when its run may be over
    assert found() == [
        ("task_prerun", "NoneType", None),
        ("task_failure", "ValueError", None),
        ("task_postrun", "NoneType", "FAILURE"),
    ]
