"""Steps that may start become real Celery canvas: chords, chains, groups and plain visits."""

from __future__ import annotations

from typing import Any

import pytest
from celery import chord
from celery.canvas import Signature, _chain, group

from dagcelery.client import plan_of
from dagcelery.store.records import ROOT, ReadyStep
from dagcelery.worker import sender
from dagcelery.worker.sender import LINK, WORK, Canvas
from unit.engine import flows
from unit.engine.worlds import World, celery_app


def canvas_of(
    node: Any, step: str, *, items: int = -1, slots: int = 4, backend: str = "redis://127.0.0.1:1/0", scope: str = ROOT
) -> Signature:
    """The canvas that one step of a DAG becomes when it is opened."""
    plan = plan_of(node)
    index = next(i for i, found in enumerate(plan.bodies[0].steps) if found.name == step)
    built = Canvas(celery_app(backend), "run-1", lambda body: (plan, body), lambda queue: slots).build(
        [ReadyStep(scope, 0, index, plan.bodies[0].steps[index].queue, items)]
    )
    assert len(built) == 1
    return built[0]


def members(signature: Signature) -> list[Signature]:
    """The header of a chord or the members of a group."""
    tasks = signature.tasks
    return list(tasks.tasks if isinstance(tasks, group) else tasks)


def links(signature: Signature) -> list[tuple[str, str, list[str]]]:
    """Task, queue and steps of each link of a chain."""
    assert isinstance(signature, _chain)
    return [
        (link.task, link.options["queue"], link.kwargs.get("steps") or [link.kwargs["focus"]])
        for link in signature.tasks
    ]


@pytest.mark.parametrize(
    ("items", "slots", "size"), [(2, 4, 2), (100, 4, 4), (100_000, 1_000, 256), (1, 4, 1), (5, 0, 1)]
)
def test_the_header_of_a_fan_out_is_as_large_as_items_slots_and_the_bound_allow(
    items: int, slots: int, size: int
) -> None:
    made = canvas_of(flows.sum_of_squares, "square", items=items, slots=slots)
    assert isinstance(made, chord)
    assert len(members(made)) == size


def test_a_map_reduce_becomes_a_chord_whose_body_visits_the_join_on_the_joins_queue() -> None:
    made = canvas_of(flows.gpu_sum_of_squares, "square", items=10, slots=2)
    assert isinstance(made, chord)
    assert [dict(member.kwargs) for member in members(made)] == [
        {"run": "run-1", "queue": "celery", "focus": "0/0"}
    ] * 2
    assert (made.body.task, made.body.options["queue"]) == (WORK, "gpu")
    assert made.body.kwargs == {"run": "run-1", "queue": "gpu", "focus": "0/1"}


def test_the_members_of_a_chord_get_no_results_of_each_other() -> None:
    made = canvas_of(flows.sum_of_squares, "square", items=10)
    assert all(member.immutable for member in (*members(made), made.body))


def test_a_fan_out_that_nothing_joins_becomes_a_group() -> None:
    made = canvas_of(flows.squares_of, "square", items=10, slots=3)
    assert isinstance(made, group)
    assert not isinstance(made, chord)
    assert len(members(made)) == 3


def test_a_fan_out_with_two_reducers_becomes_a_group_since_no_single_step_follows() -> None:
    assert isinstance(canvas_of(flows.two_reducers_of, "square", items=10), group)


@pytest.mark.parametrize("backend", ["cache+memory://", "disabled://", "rpc://"])
def test_only_a_redis_result_backend_gets_chords_since_others_poll_for_ever(backend: str) -> None:
    made = canvas_of(flows.sum_of_squares, "square", items=10, backend=backend)
    assert isinstance(made, group)
    assert not isinstance(made, chord)


def test_steps_that_change_queues_become_a_chain_of_four_links_at_most() -> None:
    assert links(canvas_of(flows.zigzag, "echo")) == [
        (LINK, "celery", ["0/0"]),
        (LINK, "gpu", ["0/1"]),
        (LINK, "celery", ["0/2"]),
        (WORK, "gpu", ["0/3"]),
    ]


def test_neighbours_on_one_queue_share_a_link() -> None:
    assert links(canvas_of(flows.neighbours, "echo")) == [
        (LINK, "celery", ["0/0", "0/1"]),
        (LINK, "gpu", ["0/2", "0/3", "0/4"]),
        (WORK, "celery", ["0/5"]),
    ]


def test_each_link_names_the_step_that_the_chain_sends_next() -> None:
    made = canvas_of(flows.zigzag, "echo")
    assert [link.kwargs.get("then") for link in made.tasks] == ["0/1", "0/2", "0/3", None]


def test_a_straight_run_on_one_queue_is_one_plain_visit() -> None:
    made = canvas_of(flows.diamond, "echo")
    assert made.task == WORK
    assert made.kwargs == {"run": "run-1", "queue": "celery"}


def test_steps_that_start_together_share_as_many_messages_as_there_are_processes() -> None:
    plan = plan_of(flows.diamond)
    opened = [ReadyStep(ROOT, 0, 1, "celery", -1)] * 10
    built = Canvas(celery_app(), "run-1", lambda body: (plan, body), lambda queue: 3).build(opened)
    assert [signature.task for signature in built] == [WORK] * 3


def test_an_empty_fan_out_is_one_plain_visit() -> None:
    assert canvas_of(flows.sum_of_squares, "square", items=0).task == WORK


def test_a_join_that_no_canvas_can_say_goes_through_the_stores_arrival_counts() -> None:
    world = World()
    run_id = world.ended(flows.diamond, x=3)
    kinds = {(message.task, message.kwargs["queue"]) for message in world.post.sent}
    assert kinds == {(WORK, "celery"), (WORK, "gpu")}
    assert world.result(run_id) == flows.diamond(3) == 12


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (flows.sum_of_squares, "chord([square[*] × min(items, 2 slots, 256)] on celery, total on celery)"),
        (flows.squares_of, "group([square[*] × min(items, 2 slots, 256)] on celery)"),
        (flows.zigzag, "chain(echo on celery, gpu_echo on gpu, echo-2 on celery, gpu_echo-2 on gpu)"),
        (flows.diamond, "add on celery"),
    ],
)
def test_the_canvas_can_be_described_to_people(node: Any, expected: str) -> None:
    assert expected in [line.strip() for line in sender.describe(plan_of(node), slots=2)]
