"""Joins and straight runs are found where Celery's chords and chains can say them."""

from __future__ import annotations

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


def test_neighbours_on_one_queue_are_one_group() -> None:
    run = straight_run(plan(line("cpu", "cpu", "gpu", "gpu", "cpu")), 0, 0, groups=4, steps=1000)
    assert run == [[0, 1], [2, 3], [4]]


def test_a_run_may_begin_in_the_middle() -> None:
    assert straight_run(plan(line("cpu", "cpu", "gpu")), 0, 1, groups=4, steps=1000) == [[1], [2]]


def test_a_run_has_at_most_four_groups() -> None:
    assert straight_run(plan(line("a", "b", "a", "b", "a", "b")), 0, 0, groups=4, steps=1000) == [[0], [1], [2], [3]]


def test_a_run_on_one_queue_is_bounded_too() -> None:
    assert straight_run(plan(line("a", "a", "a")), 0, 0, groups=4, steps=2) == [[0, 1]]


def test_a_run_ends_at_a_fork() -> None:
    dag = graph({"a": task(nothing), "b": task(square, x=out("a")), "c": task(square, x=out("a"))}, "c")
    assert straight_run(plan(dag), 0, 0, groups=4, steps=1000) == [[0]]


def test_a_run_ends_at_a_join() -> None:
    dag = graph({"a": task(nothing), "b": task(nothing), "c": task(add, x=out("a"), y=out("b"))}, "c")
    assert straight_run(plan(dag), 0, 0, groups=4, steps=1000) == [[0]]


def test_a_run_ends_before_a_fan_out_and_none_begins_there() -> None:
    assert straight_run(plan(map_reduce()), 0, 0, groups=4, steps=1000) == [[0]]
    assert straight_run(plan(map_reduce()), 0, 1, groups=4, steps=1000) == []
