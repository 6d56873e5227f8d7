"""A process that works through ever new runs holds no more of them than of the last few."""

from __future__ import annotations

import gc
from collections import Counter, deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest

from dagcelery import dag, task
from dagcelery.client import lifecycle
from dagcelery.engine import durations, execute, run_control
from dagcelery.errors import NodeFailed
from dagcelery.frontends.functional import dynamic
from dagcelery.payload import fingerprints, functions
from dagcelery.store import wire

from . import flows
from .worlds import World

FEW = 3


@pytest.fixture(autouse=True)
def _few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is full after a few runs tells in a few more whether it is bounded."""
    monkeypatch.setattr(run_control, "_KEPT_RUNS", FEW)
    monkeypatch.setattr(run_control, "_KNOWN_RUNS", FEW)
    monkeypatch.setattr(durations, "_KEPT_FUNCTIONS", FEW)
    monkeypatch.setattr(execute, "_KEPT_SHAPES", FEW)
    monkeypatch.setattr(dynamic, "_MOST_SHAPES", FEW)
    monkeypatch.setattr(lifecycle, "_KEPT_PLANS", FEW)
    monkeypatch.setattr(wire, "_KEPT_BODIES", FEW)
    monkeypatch.setattr(execute, "_known", lru_cache(FEW)(functions.describe))
    monkeypatch.setattr(fingerprints, "_parts_of_code", lru_cache(FEW)(fingerprints._parts_of_code.__wrapped__))


def new_function(number: int) -> Any:
    """A function that travels by value, as another one each time."""
    names: dict[str, Any] = {}
    exec(f"def made_{number}(x: int) -> int:\n    return x + {number}", names)
    return names[f"made_{number}"]


@task(on_item_failure="skip")
def odd(x: int) -> int:
    return 1 // (x % 2)


@task
def fails(grown: int, odds: list[int]) -> None:
    raise ValueError(grown, odds)


def work(world: World, number: int) -> None:
    """Work through a run like no other: in its names, functions, graphs and values, with a hook and a failure."""
    made, other = task(new_function(number)), task(new_function(1000 + number))

    @task(dynamic=True)
    def grows(x: int) -> int:
        return other.options(name=f"grown-{number}")(x)

    def body(x: int) -> None:
        named = made.options(name=f"node-{number}")(x)
        fails(grows(named), [odd(each) for each in flows.numbers(named)])

    body.__name__ = f"dag_{number}"
    with pytest.raises(NodeFailed, match="fails"):
        world.run(dag(body, on_failure=lambda notice: None), x=number)
    world.post.sent.clear()


def counted(world: World, numbers: range) -> Iterator[Counter[str]]:
    """What there is in memory after each of some runs, by kind."""
    for number in numbers:
        work(world, number)
        gc.collect()
        yield Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())


def least(moments: Iterator[Counter[str]]) -> Counter[str]:
    """What there was at each of the last three moments."""
    one, two, three = deque(moments, maxlen=3)
    return one & two & three


def test_a_process_that_works_through_ever_new_runs_does_not_grow() -> None:
    gc.collect()
    gc.freeze()
    world, runs = World(workers=1), 12
    try:
        first, second, third = (least(counted(world, range(at, at + runs))) for at in (1, 101, 201))
    finally:
        gc.unfreeze()
    # Large and small plans take the places of each other; but what is kept of each run is more after both stretches.
    grown = (second - first) & (third - second)
    assert {kind: by for kind, by in grown.items() if by >= runs} == {}


def test_a_process_keeps_fewer_plans_if_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(workers=1)
    kept = [worker._views for worker in world.workers] + [worker._programs for worker in world.workers]
    for x in (1, 2):
        world.run(flows.map_reduce, n=x)
        world.run(flows.two_reducers, n=x)
    assert [len(each) for each in kept] == [FEW, 2]
    monkeypatch.setattr(run_control, "KEPT_BYTES", 1)
    world.run(flows.map_only, n=3)
    assert [len(each) for each in kept] == [1, 1]
