"""Celery's signals fire around each call of a task's function, and each failure is told once."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import pytest
from celery import signals

from dagcelery import Retry, current, dag, task
from dagcelery.engine.run_view import RunView
from dagcelery.errors import NodeFailed
from dagcelery.store.records import Claim, Response, TaskResult
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
    assert sender.name == f"{sender.__module__}.{sender.__name__}" == "unit.engine.flows:echo.echo"
    assert (sender.request.id, sender.request.is_eager, sender.request.retries) == (more["task_id"], False, 0)
    assert (sender.request.delivery_info["routing_key"], sender.request.headers, sender.throws) == ("celery", {}, ())
    assert "a secret" not in repr([(vars(sender.request), more) for _, sender, more in told])


def test_it_is_one_object_for_each_attempt_on_which_receivers_may_leave_something(world: World, told: Told) -> None:
    with pytest.raises(NodeFailed):
        world.run(at_second, good=3)
    first, second = {id(sender) for _, sender, _ in told[:3]}, {id(sender) for _, sender, _ in told[3:]}
    assert (len(first), len(second), first & second) == (1, 1, set())
    told[0][1].left = "a span"
    assert (told[2][1].left, told[0][1].max_retries, told[3][1].request.retries) == ("a span", 1, 1)


def test_nobody_can_send_a_piece_by_its_sender(world: World, told: Told) -> None:
    world.run(flows.echo, x=1)
    with pytest.raises(NotImplementedError, match="only a run executes it"):
        told[0][1].delay()


def test_what_becomes_of_a_failed_call_is_told_in_the_context_of_the_call(world: World, told: Told) -> None:
    said = ContextVar("said", default="nothing")

    def begin(**_: Any) -> None:
        said.set("begun")

    def end(**_: Any) -> None:
        found.append(said.get())

    found: list[str] = []
    kinds = signals.task_prerun, signals.task_retry, signals.task_failure, signals.task_postrun
    for kind, receive in zip(kinds, (begin, end, end, end), strict=True):
        kind.connect(receive, weak=False)
    try:
        with pytest.raises(NodeFailed):
            world.run(at_second, good=3)
    finally:
        for kind, receive in zip(kinds, (begin, end, end, end), strict=True):
            kind.disconnect(receive)
    assert (found, said.get()) == (["begun"] * 4, "nothing")


class Overtaken(Announcer):
    """Hears of each result that the store did not take it."""

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        return super().ended(view, claim, result, replace(response, states=("stale",)))


def test_of_an_attempt_that_was_overtaken_only_the_end_is_told(told: Told) -> None:
    with pytest.raises(NodeFailed):
        World(listener=Overtaken(celery_app())).run(flows.fail_on, x=1, bad=1)
    assert [(kind, more.get("state")) for kind, _, more in told] == [("task_prerun", None), ("task_postrun", "IGNORED")]


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
    assert kinds(told)[:3] == ["task_prerun", "task_retry", "task_postrun"]
    assert kinds(told)[3:] == ["task_prerun", "task_success", "task_postrun"]
    assert str(told[1][2]["reason"]) == "not yet"
    assert told[2][2]["state"] == "RETRY"


def test_the_last_attempt_fires_failure(world: World, told: Told) -> None:
    with pytest.raises(NodeFailed):
        world.run(at_second, good=3)
    assert kinds(told)[3:] == ["task_prerun", "task_failure", "task_postrun"]


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
    assert sorted(sender.name for kind, sender, _ in told if kind == "task_prerun") == [
        f"{__name__}:outer.numbers",
        f"{__name__}:outer.square",
        f"{__name__}:outer.square",
    ]
