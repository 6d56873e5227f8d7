"""Graphs that grow: with messages in any order, without a key, with workers that forget; and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import redis

from dagcelery import dag, task
from dagcelery.client import plan_of
from dagcelery.engine import run_view
from dagcelery.engine.program import Program
from dagcelery.errors import BadSignature, NodeFailed, NotConfigured
from dagcelery.payload.signing import Keyring
from dagcelery.planner.plan import Body
from dagcelery.settings import Settings
from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.store.records import ROOT, scope_id

from . import flows
from .worlds import KEY, World, shuffled

HERE = "unit.engine.flows"
RESULT = {"sum": 15, "mapped": [x + 1 for x in range(6)]}


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_messages_does_not_matter(seed: int) -> None:
    world = World()
    run_id = world.submit(flows.halves_of, n=6)
    world.settle(shuffled(seed), copies=1 + seed % 2)
    assert world.result(run_id) == RESULT
    assert len(set(world.committed(run_id))) == len(world.committed(run_id))


def test_it_needs_no_key(store: Store) -> None:
    world = World(store, key=None, imports=(HERE,))
    assert world.run(flows.halves_of, n=6) == RESULT


def test_a_workflow_needs_no_key_if_it_is_registered(store: Store) -> None:
    world = World(store, key=None, imports=(HERE,))
    assert world.run(flows.shop, items=[1, 2]) == 9
    with pytest.raises(NotConfigured, match="argument 'self' of entrypoint is a literal of type Shop"):
        world.submit(flows.other_shop, items=[1])


def test_without_a_key_nothing_that_was_made_may_need_pickle(store: Store) -> None:
    world = World(store, key=None, imports=(HERE,))
    with pytest.raises(NodeFailed, match="argument 'x' of echo is a literal of type Shop, which needs pickle"):
        world.run(flows.needing_pickle, x=1)


def test_workers_may_forget_plans_and_read_them_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_view, "_PLANS", 0)
    world = World(store, slice_seconds=1e-9)
    assert world.run(flows.halves_of, n=6) == RESULT
    assert all(len(view._owners) < 10 for worker in world.workers for view in worker._views.values())


def test_messages_stay_small_however_deep_the_graph(store: Store) -> None:
    world = World(store, slice_seconds=1e-9)
    assert world.run(flows.countdown, n=20) == 0
    assert max(len(repr(message.kwargs)) for message in world.post.sent) < 120


def grown(world: World) -> tuple[str, str]:
    """A run whose first piece has made its plan, and the scope of that; nothing more was delivered."""
    run_id = world.submit(flows.halves, xs=[1, 2])
    world.deliver(world.post.waiting.pop())
    return run_id, scope_id(run_id, ROOT, 0, -1)


@pytest.mark.parametrize("attack", ["changed", "of another scope"])
def test_a_plan_of_a_scope_that_is_not_its_own_is_not_executed(store: Store, raw: redis.Redis, attack: str) -> None:
    world = World(store, workers=1, slice_seconds=1e-9)
    run_id, scope = grown(world)
    other, _ = grown(world)
    plan = raw.hget(Keys().run(run_id if attack == "changed" else other, "g", 1), "plan:0")
    raw.hset(
        Keys().run(run_id, "g", 1),
        "plan:0",
        plan.replace(b"chosen_total", b"gpu_echo") if attack == "changed" else plan,
    )
    world.workers = [world.engine("fresh")]
    world.settle()
    record = store.reader.record(run_id)
    assert (record.state, record.failed.split("/")[0]) == ("failed", scope)
    with pytest.raises(BadSignature, match=f"of scope in scope {scope}"):
        world.result(run_id)


def test_what_is_wrong_with_a_graph_fails_the_piece_that_made_it() -> None:
    with pytest.raises(NodeFailed, match=r"node named failed with .*node name 'one': is given twice in one DAG"):
        flows.named.invoke()


def test_a_graph_may_not_be_larger_than_the_settings_say() -> None:
    world = World(max_nodes=10)
    with pytest.raises(NodeFailed, match="has more than 10 nodes"):
        world.run(flows.many, n=11)
    assert world.run(flows.many, n=10) == list(range(10))


class Watched(tuple[Body, ...]):
    """Bodies that ask `then` before each of them is given out, as another thread might."""

    then: Callable[[], None]

    def __iter__(self) -> Iterator[Body]:
        for body in super().__iter__():
            self.then()
            yield body


@dag
def rows(lengths: list[int]) -> list[int]:
    return [flows.map_reduce(n) for n in lengths]


@task(dynamic=True)
def called_rows(lengths: list[int]) -> list[int]:
    return rows(lengths)


def test_any_piece_may_be_the_first_that_a_worker_sees_of_a_run(store: Store) -> None:
    world = World(store, slice_seconds=1e-9)
    run_id = world.submit(called_rows, lengths=[3, 4])
    while world.post.waiting:
        world.deliver(world.post.waiting.pop(), world.engine("fresh"))
    assert world.result(run_id) == [5, 14]


def test_another_thread_meets_no_half_of_a_plan() -> None:
    plan = plan_of(rows, settings=Settings())
    assert len(plan.bodies) > 1
    program = Program(plan_of(flows.map_only, settings=Settings()), Keyring.parse(KEY), None).own_copy()
    known: list[bool] = []
    bodies = Watched(plan.bodies)
    bodies.then = lambda: known.append(program.knows(7))
    program.link(7, replace(plan, bodies=bodies))
    assert known
    assert not any(known)
    assert program.knows(7)


def test_a_called_object_needs_no_hash() -> None:
    @dataclass
    class Scale:
        by: int

        def __call__(self, x: int) -> int:
            return x * self.by

    scaled = task(Scale(3))
    assert task(dynamic=True)(lambda x: [scaled(x), scaled(x)]).invoke(x=2) == [6, 6]
