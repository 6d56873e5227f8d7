"""Branches in runs: what is not taken never runs, and retries, resumption, rewinding and freeing know of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from dagcelery import DAG, AsPickle, Skipped, dag, task, when
from dagcelery.client import lifecycle, plan_of
from dagcelery.client.status import run_status
from dagcelery.errors import InvalidParameters, NodeFailed
from dagcelery.store.protocol import Store

from .flows import numbers
from .worlds import World, latest, shuffled

OUTSIDE: dict[str, Any] = {}
CALLED: Counter[str] = Counter()


@pytest.fixture
def world(each_store: Store) -> World:
    OUTSIDE.clear()
    CALLED.clear()
    return World(each_store)


@task
def good(x: int) -> bool:
    CALLED["good"] += 1
    return x >= int(OUTSIDE.get("least", 0))


@task
def train(x: int) -> int:
    CALLED["train"] += 1
    if OUTSIDE.get("broken"):
        raise ValueError("broken")
    return 10 * x


@task
def excuse(x: int) -> int:
    CALLED["excuse"] += 1
    return -x


@task
def total(xs: list[int]) -> int:
    CALLED["total"] += 1
    return sum(xs)


@dag
def chosen(x: int) -> int:
    return total([x, when(good(x), lambda: train(x), lambda: excuse(x))])


@dag(keep="outputs")
def lean(x: int) -> int:
    xs = numbers(x)
    return total([x, when(good(x), lambda: total([train(y) for y in xs]), lambda: total(xs))])


@dag
def judged(x: int) -> int:
    return when(good(x), lambda: train(x), lambda: when(x, lambda: excuse(x), lambda: 1000))


@dag
def each(n: int) -> int:
    return total([judged(x) for x in numbers(n)])


def states(world: World, run_id: str) -> dict[str, str]:
    return {node.name: node.state for node in run_status(world.client, run_id).nodes}


def failed(world: World, run_id: str) -> NodeFailed:
    with pytest.raises(NodeFailed) as caught:
        world.result(run_id)
    return caught.value


def test_the_status_says_what_was_skipped(world: World) -> None:
    run_id = world.submit(chosen, x=3)
    before = states(world, run_id)
    assert {before[name] for name in ("when/then", "when/then/train", "when/otherwise/excuse")} == {"waiting"}
    world.settle()
    assert world.result(run_id) == 33
    assert states(world, run_id) == {
        "good": "done",
        "when.choice": "done",
        "when/then": "done",
        "when/then/train": "done",
        "when/otherwise": "skipped",
        "when/otherwise/excuse": "skipped",
        "when.result": "done",
        "total": "done",
    }
    assert CALLED == {"good": 1, "train": 1, "total": 1}


def test_the_status_counts_branches_of_items(world: World) -> None:
    OUTSIDE["least"] = 2
    run_id = world.ended(each, n=5)
    assert world.result(run_id) == 1000 - 1 + 20 + 30 + 40
    found = {node.name: (node.total, node.done, node.skipped) for node in run_status(world.client, run_id).nodes}
    assert found["judged[*]/when/then/train"] == (5, 3, 2)
    assert found["judged[*]/when/otherwise/when/then/excuse"] == (5, 1, 4)
    assert found["judged[*]/when/otherwise"] == (5, 2, 3)


@pytest.mark.parametrize("seed", range(3))
def test_messages_may_come_in_any_order_and_twice(world: World, seed: int) -> None:
    OUTSIDE["least"] = 2
    runs = [world.submit(each, n=6), world.submit(chosen, x=1), world.submit(chosen, x=5)]
    world.settle(shuffled(seed) if seed else latest, copies=2)
    assert [world.result(run_id) for run_id in runs] == [1139, 0, 55]


def test_an_error_in_a_branch_has_its_address_and_is_resumed_there(world: World) -> None:
    OUTSIDE["broken"] = True
    run_id = world.ended(chosen, x=3)
    assert failed(world, run_id).address == "when/then/train"
    del OUTSIDE["broken"]
    lifecycle.resume(world.client, run_id, None, allow_code_change=False)
    world.settle()
    assert world.result(run_id) == 33
    assert CALLED == {"good": 1, "train": 2, "total": 1}


@pytest.mark.parametrize(("node", "expected", "called"), [("good", 0, "excuse"), ("when.choice", 33, "train")])
def test_what_is_taken_back_may_be_decided_otherwise(world: World, node: str, expected: int, called: str) -> None:
    run_id = world.ended(chosen, x=3)
    OUTSIDE["least"] = 9
    CALLED.clear()
    lifecycle.retry_from(world.client, run_id, node, None, allow_code_change=False)
    world.settle()
    assert world.result(run_id) == expected
    assert CALLED[called] == 1
    assert states(world, run_id)["when/then/train"] == ("done" if expected else "skipped")


def test_a_node_in_a_branch_is_taken_back_if_the_branch_was_taken(world: World) -> None:
    run_id = world.ended(chosen, x=3)
    with pytest.raises(InvalidParameters, match="the branch 'when/otherwise' was not taken"):
        lifecycle.retry_from(world.client, run_id, "when/otherwise/excuse", None, allow_code_change=False)
    for address in ("when/then/train", "when/then"):
        CALLED.clear()
        lifecycle.retry_from(world.client, run_id, address, None, allow_code_change=False)
        world.settle()
        assert (world.result(run_id), CALLED["train"], CALLED["good"]) == (33, 1, 0)


@pytest.mark.parametrize(("least", "expected"), [(0, 64), (9, 10)])
def test_values_that_only_a_branch_reads_are_there_until_it_has_read_them(
    world: World, least: int, expected: int
) -> None:
    OUTSIDE["least"] = least
    run_id = world.submit(lean, x=4)
    while world.post.waiting:
        world.deliver(world.post.waiting.pop(0))
        world.store.machine.collect_garbage(run_id)
    assert world.result(run_id) == expected


def test_a_condition_that_was_skipped_skips_what_depends_on_the_choice() -> None:
    @task(on_item_failure="skip")
    def shaky(x: int) -> bool:
        if x == 1:
            raise ValueError(x)
        return True

    @task
    def told(xs: list[Any]) -> list[Any]:
        return [x.address if isinstance(x, Skipped) else x for x in xs]

    @dag
    def d(n: int) -> list[Any]:
        return told([when(shaky(x), lambda x=x: train(x), lambda x=x: excuse(x)) for x in numbers(n)])

    OUTSIDE.clear()
    assert World().run(d, n=3) == [0, "shaky[1]", 20]


def test_a_condition_whose_truth_cannot_be_told_fails_the_run_and_says_so() -> None:
    OUTSIDE.clear()

    class Neither:
        def __bool__(self) -> bool:
            raise TypeError("neither true nor false")

    @task(serializer=AsPickle())
    def odd(x: int) -> Any:
        return Neither()

    @dag
    def d(x: int) -> Any:
        return when(odd(x), lambda: train(x))

    with pytest.raises(NodeFailed, match=r"node when\.choice failed with TypeError: neither true nor false"):
        World().run(d, x=3)


@task(dynamic=True)
def grown(n: int) -> int:
    """Calls tasks while it runs, and lets a branch be chosen by what one of them will return."""
    kept = [train(x) for x in range(n)]
    return when(good(n), lambda: total(kept), lambda: total([excuse(x) for x in numbers(n)]))


@dag
def around(n: int) -> int:
    return when(n, lambda: total([grown(n), 1]))


@pytest.mark.parametrize(("least", "expected"), [(0, 31), (9, -2)])
def test_a_running_task_may_branch_and_a_branch_may_hold_one(world: World, least: int, expected: int) -> None:
    OUTSIDE["least"] = least
    run_id = world.ended(around, n=3)
    assert world.result(run_id) == expected
    taken, skipped = ("then/total", "otherwise/excuse") if not least else ("otherwise/excuse", "then/total")
    found = states(world, run_id)
    assert (found[f"when/then/grown/when/{taken}"], found[f"when/then/grown/when/{skipped}"]) == ("done", "skipped")


def test_a_condition_is_decided_once_for_both_branches() -> None:
    planned = plan_of(chosen)
    (choice,) = [step for step in planned.bodies[0].steps if step.name == "when.choice"]
    at = planned.bodies[0].steps.index(choice)
    assert [step.over for step in planned.bodies[0].steps if step.kind == "dag"] == [f"{at}.0", f"{at}.1"]
    assert isinstance(chosen.__dag__(), DAG)
