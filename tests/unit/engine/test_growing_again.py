"""A node that grew and is executed again may grow otherwise; whoever saw the first graph forgets it."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from dagcelery import Retry, task
from dagcelery.client import following, lifecycle, tree
from dagcelery.client.status import run_status
from dagcelery.engine.worker_loop import Engine
from dagcelery.errors import CodeMismatch
from dagcelery.store.protocol import Store

from .flows import echo
from .worlds import World, shuffled

outside: dict[str, Any] = {}
"""What tasks read that no graph knows of."""


@pytest.fixture
def store(each_store: Store) -> Store:
    outside.clear()
    return each_store


@task
def headed(head: str, tail: list[Any]) -> list[Any]:
    return [head, *tail]


@task(retry=Retry(2, 0.0))
def shaky(x: int) -> int:
    if outside.get("fails"):
        raise ValueError("not yet")
    return x


@task(dynamic=True)
def leaf(x: Any) -> Any:
    return shaky(x)


@task(dynamic=True)
def growing(seed: int) -> Any:
    if "again" not in outside:
        return headed("once", [leaf(seed), leaf(seed + 1)])
    return [echo("again"), echo(1), echo(2), leaf("deep")]


def again(world: World, run_id: str) -> None:
    outside.update(again=True, fails=False)
    lifecycle.retry_from(world.client, run_id, "growing", None, allow_code_change=False)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("workers", [1, 2])
def test_it_may_become_another_graph(store: Store, workers: int, seed: int) -> None:
    world = World(store, workers=workers, slice_seconds=1e-9)
    run_id = world.submit(growing, seed=7)
    world.settle(shuffled(seed))
    assert world.result(run_id) == ["once", 7, 8]
    again(world, run_id)
    world.settle(shuffled(seed))
    assert world.result(run_id) == ["again", 1, 2, "deep"]


def names_in_tree(engine: Engine, run_id: str) -> set[str]:
    (root,) = tree.tree(engine, run_id, 10, 100).children
    return {child.name for child in root.children}


def test_who_watched_it_sees_the_new_graph(store: Store) -> None:
    world = World(store, slice_seconds=1e-9)
    run_id = world.ended(growing, seed=7)
    reader = world.engine("reader")
    assert "growing/leaf-2/shaky" in {node.name for node in run_status(reader, run_id).nodes}
    assert names_in_tree(reader, run_id) == {"leaf", "leaf-2", "headed"}
    again(world, run_id)
    world.settle()
    names = ("echo", "echo-2", "echo-3", "leaf", "leaf/shaky")
    shown = {node.name for node in run_status(reader, run_id).nodes}
    assert shown == {"growing", *(f"growing/{name}" for name in names)}
    assert names_in_tree(reader, run_id) == {"echo", "echo-2", "echo-3", "leaf"}


def test_events_and_errors_of_what_was_taken_back_can_still_be_read(store: Store) -> None:
    world = World(store, workers=1, slice_seconds=1e-9)
    outside["fails"] = True
    run_id = world.ended(growing, seed=7)
    reader = world.engine("reader")
    assert {failure.address for failure in following.errors(reader, run_id)} == {"growing/leaf/shaky"}
    again(world, run_id)
    world.settle()
    assert world.result(run_id) == ["again", 1, 2, "deep"]
    late = world.engine("late")
    assert [failure.attempt for failure in following.errors(late, run_id)] == [1, 2]
    told = following.Feed(late, run_id, "").page()
    assert [event.kind for event in told if event.kind in ("retried", "failed")] == ["retried", "failed"]
    assert told[-2].address == "growing"


def test_resume_refuses_changed_code_of_what_a_node_has_grown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(store)
    outside["fails"] = True
    run_id = world.ended(growing, seed=7)

    @task
    def changed(x: int) -> int:
        return x + 1

    monkeypatch.setattr(sys.modules[__name__], "shaky", changed)
    late = world.engine("late")
    with pytest.raises(CodeMismatch, match="test_growing_again:shaky"):
        lifecycle.resume(late, run_id, None, allow_code_change=False)
    lifecycle.resume(late, run_id, None, allow_code_change=True)
    world.workers = [world.engine("new")]
    world.settle()
    assert world.result(run_id) == ["once", 8, 9]
