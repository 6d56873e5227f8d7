"""Joins and straight runs are found where Celery's chords and chains can say them."""

from __future__ import annotations

import pytest

from dagcelery.model import DAG, FromParam, TaskOptions
from dagcelery.planner.compile import plan
from dagcelery.planner.topology import join_of, straight_run

from .graphs import add, each, graph, lister, map_reduce, nothing, numbers, out, square, task, total


def line(*queues: str) -> DAG:
    """A chain of steps on these queues."""
    nodes = {"n0": task(nothing, TaskOptions(queue=queues[0]))}
    for i, queue in enumerate(queues[1:], 1):
        nodes[f"n{i}"] = task(square, TaskOptions(queue=queue), x=out(f"n{i - 1}"))
    return graph(nodes, f"n{len(queues) - 1}")


def test_the_reducer_joins_the_map() -> None:
    assert join_of(plan(map_reduce()), 0, 1) == 2


def test_a_step_that_runs_once_has_no_join() -> None:
    assert join_of(plan(map_reduce()), 0, 0) is None


def test_a_reducer_that_also_reads_the_list_still_joins() -> None:
    dag = graph({**map_reduce().nodes, "both": task(add, x=out("square"), y=out("numbers"))}, "both", "n")
    assert join_of(plan(DAG({k: n for k, n in dag.nodes.items() if k != "total"}, dag.inputs, dag.outputs)), 0, 1) == 2


def test_a_reducer_that_waits_for_others_is_no_join() -> None:
    nodes = {
        "numbers": lister(numbers, n=FromParam()),
        "other": task(square, x=FromParam("n")),
        "square": task(square, x=each("numbers")),
        "add": task(add, x=out("square"), y=out("other")),
    }
    assert join_of(plan(graph(nodes, "add", "n")), 0, 2) is None


def test_two_reducers_are_no_join() -> None:
    dag = graph({**map_reduce().nodes, "again": task(total, xs=out("square"))}, "again", "n")
    assert join_of(plan(dag), 0, 1) is None


def test_a_map_is_no_join_of_another() -> None:
    dag = graph(
        {
            "numbers": lister(numbers, n=FromParam()),
            "square": task(square, x=each("numbers")),
            "add": task(add, x=each("square"), y=out("square")),
        },
        "add",
        "n",
    )
    assert join_of(plan(dag), 0, 1) is None


FORK = graph({"a": task(nothing), "b": task(square, x=out("a")), "c": task(square, x=out("a"))}, "c")
JOIN = graph({"a": task(nothing), "b": task(nothing), "c": task(add, x=out("a"), y=out("b"))}, "c")


@pytest.mark.parametrize(
    ("dag", "first", "steps", "run"),
    [
        pytest.param(line("a", "a", "b", "b", "a"), 0, 1000, [[0, 1], [2, 3], [4]], id="neighbours on one queue"),
        pytest.param(line("a", "a", "b"), 1, 1000, [[1], [2]], id="begins in the middle"),
        pytest.param(line("a", "b", "a", "b", "a", "b"), 0, 1000, [[0], [1], [2], [3]], id="at most four groups"),
        pytest.param(line("a", "a", "a"), 0, 2, [[0, 1]], id="at most so many steps"),
        pytest.param(FORK, 0, 1000, [[0]], id="ends at a fork"),
        pytest.param(JOIN, 0, 1000, [[0]], id="ends at a join"),
        pytest.param(map_reduce(), 0, 1000, [[0]], id="ends before a fan-out"),
        pytest.param(map_reduce(), 1, 1000, [], id="does not begin with a fan-out"),
    ],
)
def test_a_straight_run_goes_from_step_to_step(dag: DAG, first: int, steps: int, run: list[list[int]]) -> None:
    assert straight_run(plan(dag), 0, first, groups=4, steps=steps) == run
