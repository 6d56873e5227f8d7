"""Celery's signals fire around each call of a task's function, and each failure is told once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import signals

from dagcelery import Retry, current, dag, task
from dagcelery.errors import NodeFailed
from dagcelery.worker.signals import Announcer
from unit.engine import flows
from unit.engine.worlds import World, celery_app

Told = list[tuple[str, Any, dict[str, Any]]]


@pytest.fixture
def told() -> Iterator[Told]:
    """All signals of pieces, as they are fired."""
    found: Told = []
    receivers = []
    for kind in ("task_prerun", "task_postrun", "task_success", "task_failure", "task_retry"):

        def receive(sender: Any = None, kind: str = kind, **more: Any) -> None:
            found.append((kind, sender, more))

        getattr(signals, kind).connect(receive, weak=False)
        receivers.append((getattr(signals, kind), receive))
    yield found
    for signal, receive in receivers:
        signal.disconnect(receive)


@pytest.fixture
def world() -> World:
    return World(listener=Announcer(celery_app()))


def kinds(told: Told) -> list[str]:
    return [kind for kind, _, _ in told]


def test_a_signals_sender_has_a_tasks_name_and_request(world: World, told: Told) -> None:
    world.run(flows.echo, x="a secret")
    _, sender, more = told[0]
    assert sender == sender.name == "unit.engine.flows:echo.echo"
    assert (sender.request.id, sender.request.is_eager, sender.request.retries) == (more["task_id"], False, 0)
    assert "a secret" not in repr([(sender.request.kwargs, more) for _, sender, more in told])


def test_a_listener_may_choose_one_node_as_sender(world: World) -> None:
    heard: list[Any] = []

    def hear(**more: Any) -> None:
        heard.append(more)

    signals.task_prerun.connect(hear, sender="unit.engine.flows:diamond.add", weak=False)
    world.run(flows.diamond, x=2)
    signals.task_prerun.disconnect(hear, sender="unit.engine.flows:diamond.add")
    assert len(heard) == 1


def test_signals_come_in_celerys_order(world: World, told: Told) -> None:
    world.run(flows.echo, x=1)
    assert kinds(told) == ["task_prerun", "task_success", "task_postrun"]


def test_signals_fire_within_the_piece(world: World) -> None:
    addresses: list[str] = []

    def note(**_: Any) -> None:
        addresses.append(current().address)

    signals.task_prerun.connect(note, weak=False)
    try:
        world.run(flows.squares_of, xs=[1, 2])
    finally:
        signals.task_prerun.disconnect(note)
    assert addresses == ["square[0]", "square[1]"]


def test_a_function_that_raises_fires_failure_once(world: World, told: Told) -> None:
    with pytest.raises(NodeFailed):
        world.run(flows.fail_on, x=1, bad=1)
    assert kinds(told) == ["task_prerun", "task_failure", "task_postrun"]
    _, _, more = told[1]
    assert isinstance(more["exception"], ValueError)
    assert "no 1" in more["einfo"].traceback
    assert told[2][2]["state"] == "FAILURE"


@task(retry=Retry(2, wait=0))
def at_second(good: int) -> int:
    if current().attempt < good:
        raise ValueError("not yet")
    return 1


def test_a_piece_that_is_tried_again_fires_retry_and_not_failure(world: World, told: Told) -> None:
    world.run(at_second, good=2)
    assert kinds(told)[:3] == ["task_prerun", "task_postrun", "task_retry"]
    assert kinds(told)[3:] == ["task_prerun", "task_success", "task_postrun"]
    assert told[1][2]["state"] == "RETRY"
    assert str(told[2][2]["reason"]) == "not yet"


def test_the_last_attempt_fires_failure(world: World, told: Told) -> None:
    with pytest.raises(NodeFailed):
        world.run(at_second, good=3)
    assert kinds(told)[3:] == ["task_prerun", "task_postrun", "task_failure"]


@task
def odd() -> Any:
    return {1, 2}


def test_a_result_that_is_refused_fires_failure_though_the_function_returned(world: World, told: Told) -> None:
    with pytest.raises(NodeFailed):
        world.run(odd)
    assert kinds(told) == ["task_prerun", "task_success", "task_postrun", "task_failure"]


@dag
def inner(k: int) -> int:
    return flows.square(k)


@dag
def outer(n: int) -> list[int]:
    return [inner(k) for k in flows.numbers(n)]


def test_scopes_fire_nothing_by_themselves(world: World, told: Told) -> None:
    world.run(outer, n=2)
    assert sorted(sender for kind, sender, _ in told if kind == "task_prerun") == [
        f"{__name__}:outer.numbers",
        f"{__name__}:outer.square",
        f"{__name__}:outer.square",
    ]
