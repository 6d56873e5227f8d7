"""A nested DAG that runs once leaves no trace in the plan but the names of its steps."""

from __future__ import annotations

from dagcelery.model import DAG, DictOf, Each, FromNodeOutput, FromParam, ListOf, Literal, Part, Task
from dagcelery.planner.compile import plan
from dagcelery.planner.topology import topology

from .graphs import (
    VALUE,
    add,
    double,
    graph,
    map_reduce,
    nothing,
    out,
    placed,
    square,
    task,
    total,
)
from .interpreter import run


def names(dag: DAG | Task) -> list[str]:
    return [step.name for step in plan(dag).bodies[0].steps]


def chain(depth: int) -> DAG:
    dag = graph({"f": task(square, x=FromParam())}, "f", "x")
    for _ in range(depth):
        dag = graph({"in": dag}, "in", "x")
    return dag


def test_steps_are_named_by_the_path_to_their_node() -> None:
    inner = placed(map_reduce(), n=FromParam("n"))
    dag = graph({"inner": inner, "double": task(double, x=out("inner"))}, "double", "n")
    assert names(dag) == ["inner/numbers", "inner/square", "inner/total", "double"]


def test_parameters_of_a_nested_dag_give_way_to_what_they_are_bound_to() -> None:
    inner = placed(graph({"add": task(add, x=FromParam(), y=FromParam())}, "add", "x", "y"), x=out("a"), y=Literal(3))
    dag = graph({"a": task(square, x=FromParam("n")), "inner": inner}, "inner", "n")
    step = plan(dag).bodies[0].steps[1]
    assert step.arguments == (("x", ("ref", "0.0")), ("y", ("lit", 3)))
    assert run(plan(dag), n=2) == 7


def test_a_parameter_may_have_another_name_outside() -> None:
    inner = placed(graph({"f": task(square, x=FromParam("a"))}, "f", "a"), a=FromParam("b"))
    assert run(plan(graph({"inner": inner}, "inner", "b")), b=3) == 9


def test_the_default_of_a_nested_dag_applies_where_nobody_binds_its_parameter() -> None:
    nodes = {"f": task(square, x=FromParam("x"))}
    inner = DAG(nodes, {"x": FromParam(default_value=0)}, {VALUE: out("f")})
    dag = DAG({"inner": inner}, {}, {VALUE: out("inner")})
    assert plan(dag).bodies[0].steps[0].arguments == (("x", ("lit", 0)),)


def test_what_the_dag_around_binds_wins_over_the_default() -> None:
    nodes = {"f": task(square, x=FromParam("x"))}
    inner = DAG(nodes, {"x": FromParam(default_value=0)}, {VALUE: out("f")})
    assert run(plan(graph({"inner": inner}, "inner", "x")), x=4) == 16


def test_a_thousand_levels_are_flattened() -> None:
    assert run(plan(chain(1000)), x=5) == 25


def test_two_uses_of_one_dag_are_two_sets_of_steps() -> None:
    first, second = placed(map_reduce(), n=Literal(3)), placed(map_reduce(), n=out("first"))
    dag = graph({"first": first, "second": second}, "second")
    assert len(plan(dag).bodies[0].steps) == 6
    assert run(plan(dag)) == 0 + 1 + 4 + 9 + 16


def test_after_a_nested_dag_means_after_all_its_ends() -> None:
    inner = DAG({"a": task(nothing), "b": task(nothing), "c": task(square, x=out("a"))}, {}, {VALUE: out("c")})
    dag = graph({"inner": inner, "late": task(nothing, after=["inner"])}, "late")
    steps = plan(dag).bodies[0].steps
    assert [steps[index].name for index in steps[-1].after] == ["inner/b", "inner/c"]


def test_an_end_deep_inside_counts_where_only_its_neighbour_is_read() -> None:
    deep = DAG({"p": task(nothing), "q": task(nothing)}, {}, {VALUE: out("p")})
    inner = DAG({"deep": deep, "z": task(square, x=out("deep"))}, {}, {VALUE: out("z")})
    dag = graph({"inner": inner, "late": task(nothing, after=["inner"])}, "late")
    steps = plan(dag).bodies[0].steps
    assert [steps[index].name for index in steps[-1].after] == ["inner/deep/q", "inner/z"]


def test_only_the_roots_of_a_nested_dag_wait_for_what_it_comes_after() -> None:
    inner = DAG({"a": task(nothing), "b": task(square, x=out("a"))}, {}, {VALUE: out("b")}, after=["early"])
    dag = graph({"early": task(nothing), "inner": inner}, "inner")
    steps = {step.name: step for step in plan(dag).bodies[0].steps}
    assert steps["inner/a"].after == (0,)
    assert steps["inner/b"].after == ()


def test_between_wide_nested_dags_one_barrier_stands_for_all_edges() -> None:
    wide = DAG({f"n{i}": task(nothing) for i in range(100)}, {}, {VALUE: out("n0")})
    later = DAG(wide.nodes, {}, wide.outputs, after=["first"])
    planned = plan(graph({"first": wide, "second": later}, "second"))
    barrier = planned.bodies[0].steps[100]
    assert (barrier.name, barrier.kind, len(barrier.after)) == ("second.start", "gather", 100)
    assert topology(planned)[0][100].successors == list(range(101, 201))


def test_an_output_of_a_nested_dag_may_be_put_together() -> None:
    nodes = {"a": task(square, x=FromParam("n")), "b": task(double, x=FromParam("n"))}
    inner = DAG(nodes, {"n": FromParam()}, {VALUE: ListOf((out("a"), Literal(1), out("b")))})
    dag = graph({"inner": inner, "total": task(total, xs=out("inner"))}, "total", "n")
    assert plan(dag).bodies[0].steps[2].arguments == (("xs", ("list", (("ref", "0.0"), ("lit", 1), ("ref", "1.0")))),)
    assert run(plan(dag), n=3) == 16


def test_a_part_of_what_was_put_together_is_found_when_planning() -> None:
    nodes = {"a": task(square, x=FromParam("n")), "b": task(double, x=FromParam("n"))}
    inner = DAG(nodes, {"n": FromParam()}, {VALUE: DictOf((("a", out("a")), ("b", ListOf((out("b"),)))))})
    picked = Part(FromNodeOutput("inner", VALUE), (("key", "b"), ("key", 0)))
    dag = graph({"inner": inner, "f": task(square, x=picked)}, "f", "n")
    assert plan(dag).bodies[0].steps[2].arguments == (("x", ("ref", "1.0")),)


def test_a_part_of_a_literal_is_found_when_planning() -> None:
    picked = Part(FromParam("config"), (("key", "layers"), ("key", 1), ("key", "size")))
    inner = placed(
        graph({"f": task(square, x=picked)}, "f", "config"), config=Literal({"layers": [{"size": 1}, {"size": 2}]})
    )
    assert plan(graph({"inner": inner}, "inner")).bodies[0].steps[0].arguments == (("x", ("lit", 2)),)


def test_a_part_that_is_not_there_is_left_to_its_reader() -> None:
    inner = placed(graph({"f": task(square, x=Part(FromParam("xs"), (("key", 7),)))}, "f", "xs"), xs=Literal([1]))
    argument = plan(graph({"inner": inner}, "inner")).bodies[0].steps[0].arguments[0]
    assert argument == ("x", ("part", ("lit", [1]), (("key", 7),)))


def test_a_task_alone_is_a_dag_of_one_step() -> None:
    planned = plan(task(add, x=FromParam(), y=FromParam(default_value=0)))
    assert [step.name for step in planned.bodies[0].steps] == ["add"]
    assert [(param.name, param.required) for param in planned.bodies[0].params] == [("x", True), ("y", False)]
    assert run(planned, x=3) == 3


def test_a_task_alone_gives_back_what_it_returns_if_it_declares_no_output() -> None:
    assert run(plan(Task(add, {"x": FromParam(), "y": Literal(2)})), x=1) == 3


def test_a_task_alone_runs_once_even_if_its_dag_would_map_it() -> None:
    planned = plan(task(square, x=Each(FromNodeOutput("numbers", VALUE))))
    assert planned.bodies[0].steps[0].over is None
    assert run(planned, x=4) == 16
