"""A process that works through ever new runs holds no more of them than of the last few."""

from __future__ import annotations

import gc
from collections import Counter
from functools import lru_cache
from typing import Any

import pytest

from dagcelery import dag, task
from dagcelery.client import lifecycle
from dagcelery.engine import execute, run_control, worker_loop
from dagcelery.errors import NodeFailed
from dagcelery.frontends.functional import dynamic
from dagcelery.payload import fingerprints, functions

from . import flows
from .worlds import World

FEW = 3


@pytest.fixture(autouse=True)
def _few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is full after a few runs tells in a few more whether it is bounded."""
    monkeypatch.setattr(run_control, "_KEPT_RUNS", FEW)
    monkeypatch.setattr(worker_loop, "_KEPT_FUNCTIONS", FEW)
    monkeypatch.setattr(execute, "_KEPT_SHAPES", FEW)
    monkeypatch.setattr(dynamic, "_MOST_SHAPES", FEW)
    monkeypatch.setattr(lifecycle, "_KEPT_PLANS", FEW)
    monkeypatch.setattr(execute, "_known", lru_cache(FEW)(functions.describe))
    monkeypatch.setattr(fingerprints, "_parts_of_code", lru_cache(FEW)(fingerprints._parts_of_code.__wrapped__))


def new_function(number: int) -> Any:
    """A function that travels by value, as another one each time."""
    names: dict[str, Any] = {}
    exec(f"def made_{number}(x: int) -> int:\n    return x + {number}", names)
    return names[f"made_{number}"]


def work(world: World, number: int) -> None:
    """Work through a run like no other: in its names, functions, graphs and values, with hooks and failures."""
    made, other = task(new_function(number)), task(new_function(1000 + number))

    @task(dynamic=True)
    def grows(x: int) -> int:
        return other.options(name=f"grown-{number}")(x)

    @task(on_item_failure="skip")
    def odd(x: int) -> int:
        return 1 // (x % 2)

    def body(x: int) -> tuple[int, list[int]]:
        named = made.options(name=f"node-{number}")(x)
        return grows(named), [odd(each) for each in flows.numbers(named)]

    body.__name__ = f"dag_{number}"
    world.run(dag(body, on_success=lambda notice: None), x=number)

    def failing(x: int) -> int:
        return flows.fail_on(made(x), bad=2 * number)

    failing.__name__ = f"failing_{number}"
    with pytest.raises(NodeFailed):
        world.run(dag(failing, on_failure=lambda notice: None), x=number)
    world.post.sent.clear()


def counted() -> Counter[str]:
    gc.collect()
    return Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())


def test_a_process_that_works_through_ever_new_runs_does_not_grow() -> None:
    world, runs = World(workers=1), 12
    for number in range(1, 2 * FEW + 2):
        work(world, number)
    before = counted()
    for number in range(100, 100 + runs):
        work(world, number)
    grown = counted() - before
    assert {kind: by for kind, by in grown.items() if by >= runs // 2} == {}
