"""A DAG that says keep="outputs" leaves its outputs in the store, and of what lies between only what is read again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import redis

from dagcelery import dag, task
from dagcelery.client import lifecycle
from dagcelery.client.status import run_status
from dagcelery.engine.io import Reader
from dagcelery.errors import NodeFailed, ValueFreed
from dagcelery.store.protocol import Store
from dagcelery.store.records import ROOT, Scope

from .worlds import World

called: Counter[str] = Counter()
outside: dict[str, Any] = {}


@pytest.fixture
def world(each_store: Store) -> World:
    called.clear()
    outside.clear()
    return World(each_store)


@task
def texts(n: int) -> list[str]:
    called["texts"] += 1
    return [f"{i:06}" * 2_000 for i in range(n)]


@task
def doubled(text: str) -> str:
    called["doubled"] += 1
    return text + text


@task
def joined(parts: list[str]) -> str:
    called["joined"] += 1
    return "".join(parts)


@task
def length(text: str) -> int:
    called["length"] += 1
    if outside.get("broken"):
        raise ValueError("it is broken")
    return len(text)


@dag
def twice(text: str) -> str:
    return doubled(doubled(text))


@dag(keep="outputs")
def lean(n: int) -> int:
    return length(joined([doubled(x) for x in texts(n)]))


@dag(keep="outputs")
def lean_with_scopes(n: int) -> int:
    return length(joined([twice(x) for x in texts(n)]))


@task
def common() -> str:
    return "x" * 12_000


@task
def appended(text: str, more: str) -> str:
    return text + more


@dag
def with_more(text: str, more: str) -> str:
    return appended(doubled(text), more)


@dag(keep="outputs")
def lean_with_common(n: int) -> int:
    more = common()
    return length(joined([with_more(x, more) for x in texts(n)]))


@dag(keep="outputs")
def returning(n: int) -> dict[str, Any]:
    xs = texts(n)
    both = [doubled(x) for x in xs]
    return {"length": length(joined(both)), "both": both}


@dag
def wasteful(n: int) -> int:
    return length(joined([doubled(x) for x in texts(n)]))


def whole(world: World, run_id: str, token: str) -> Any:
    return Reader(world.engine("reader").view(run_id), Scope(ROOT)).whole(token)


@pytest.mark.parametrize(("node", "long"), [(lean, 2), (lean_with_scopes, 4), (lean_with_common, 3)])
def test_what_lies_between_is_freed_and_the_result_stays(world: World, node: Any, long: int) -> None:
    run_id = world.ended(node, n=5)
    assert world.result(run_id) == 5 * 12_000 * long
    steps = range(len(world.client.view(run_id).program.body(0).steps) - 1)
    for token in [f"{step}.0" for step in steps]:
        with pytest.raises(ValueFreed, match="freed when its last reader had finished"):
            whole(world, run_id, token)
    status = run_status(world.client, run_id)
    assert (status.state, [part.state for part in status.nodes]) == ("done", ["done"] * len(status.nodes))


def test_what_the_dag_returns_is_kept(world: World) -> None:
    run_id = world.ended(returning, n=3)
    found = world.result(run_id)
    assert found["length"] == 3 * 24_000
    assert [len(text) for text in found["both"]] == [24_000] * 3
    with pytest.raises(ValueFreed):
        whole(world, run_id, "2.0")


def test_what_failed_finds_its_inputs_when_it_is_resumed(world: World) -> None:
    outside["broken"] = True
    run_id = world.ended(lean, n=3)
    with pytest.raises(NodeFailed, match="it is broken"):
        world.result(run_id)
    assert len(whole(world, run_id, "2.0")) == 3 * 24_000
    outside.clear()
    called.clear()
    lifecycle.resume(world.client, run_id, None, allow_code_change=False)
    world.settle()
    assert world.result(run_id) == 3 * 24_000
    assert called == {"length": 1}


def test_what_is_taken_back_takes_back_what_was_freed(world: World) -> None:
    run_id = world.ended(lean, n=3)
    called.clear()
    lifecycle.retry_from(world.client, run_id, "length", None, allow_code_change=False)
    world.settle()
    assert world.result(run_id) == 3 * 24_000
    assert called == {"texts": 1, "doubled": 3, "joined": 1, "length": 1}


@dag(keep="outputs")
def keeping_lists(n: int) -> dict[str, Any]:
    xs = texts(n)
    return {"xs": xs, "lengths": [length(y) for y in [doubled(x) for x in xs]]}


@dag(keep="outputs")
def keeping_items(n: int) -> dict[str, Any]:
    ys = [doubled(x) for x in texts(n)]
    return {"ys": ys, "lengths": [length(y) for y in ys]}


@pytest.mark.parametrize(
    ("node", "again"), [(keeping_lists, {"doubled": 1, "length": 1}), (keeping_items, {"length": 1})]
)
def test_of_what_was_freed_only_what_is_read_is_made_again(world: World, node: Any, again: dict[str, int]) -> None:
    run_id = world.ended(node, n=3)
    for _ in range(2):
        called.clear()
        lifecycle.retry_from(world.client, run_id, "length[1]", None, allow_code_change=False)
        world.settle()
        assert world.result(run_id)["lengths"] == [24_000] * 3
        assert called == again


@pytest.mark.parametrize(("node", "is_lean"), [(wasteful, False), (lean, True), (lean_with_scopes, True)])
def test_what_the_server_holds_in_the_end_is_little(store: Store, raw: redis.Redis, node: Any, is_lean: bool) -> None:
    world = World(store)
    run_id = world.submit(node, n=100)
    before = raw.info("memory")["used_memory"]
    world.settle()
    assert isinstance(world.result(run_id), int)
    held = raw.info("memory")["used_memory"] - before
    assert held < 1_000_000 if is_lean else held > 3_000_000
