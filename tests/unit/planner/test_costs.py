"""What a node costs to write and to plan, in calls of functions: these do not depend on the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from dagcelery import DAG, FromNodeOutput, FromParam, FromReturnValue, Task, build, dag, task
from dagcelery.planner.compile import plan
from dagcelery.planner.encoding import encode_plan
from dagcelery.planner.topology import topology


def step(x: int) -> int:
    return x + 1


traced = task(step)


@dag(static=("length",))
def chain(length: int, x: int) -> int:
    for _ in range(length):
        x = traced(x)
    return x


def declared(length: int) -> DAG:
    reads = [FromParam("x"), *(FromNodeOutput(f"n{each}", "y") for each in range(length))]
    nodes = {f"n{each}": Task(step, {"x": reads[each]}, {"y": FromReturnValue()}) for each in range(length)}
    return DAG(nodes, {"x": FromParam()}, {"y": reads[-1]})


def calls(function: Callable[[], Any]) -> int:
    count = 0

    def note(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def planned(made: DAG) -> None:
    of_dag = plan(made)
    topology(of_dag)
    encode_plan(of_dag)


@pytest.mark.parametrize(
    ("made", "most"), [(lambda length: build(chain, length=length), 350), (declared, 200)], ids=["traced", "declared"]
)
def test_a_node_costs_few_calls_to_write_and_to_plan(made: Callable[[int], DAG], most: int) -> None:
    made(10)  # what is worked out once for a function
    assert calls(lambda: made(150)) - calls(lambda: made(50)) < 100 * most
    assert calls(lambda: planned(made(150))) - calls(lambda: planned(made(50))) < 100 * (most + 200)
