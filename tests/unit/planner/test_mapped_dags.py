"""A nested DAG that runs once per item is a body of its own, which shares what all its items share."""

from __future__ import annotations

from dagcelery.model import DAG, Each, FromNodeOutput, FromParam, ListOf, Literal
from dagcelery.planner.compile import plan
from dagcelery.planner.plan import Param
from dagcelery.planner.topology import topology

from .graphs import (
    VALUE,
    add,
    double,
    each,
    graph,
    lister,
    map_reduce,
    nothing,
    numbers,
    out,
    placed,
    square,
    task,
    total,
)
from .interpreter import run


def nested(dag: DAG, **inputs: object) -> DAG:
    """Return numbers(n), `dag` for each of them, and the results."""
    return graph(
        {"numbers": lister(numbers, n=FromParam()), "inner": placed(dag, **inputs)},  # type: ignore[arg-type]
        "inner",
        "n",
    )


def adding() -> DAG:
    return graph({"add": task(add, x=FromParam(), y=FromParam())}, "add", "x", "y")


def test_what_differs_by_item_is_a_parameter_of_the_body() -> None:
    planned = plan(nested(map_reduce(), n=each("numbers")))
    step, body = planned.bodies[0].steps[1], planned.bodies[1]
    assert (step.kind, step.target, step.over) == ("dag", 1, "0.0")
    assert step.arguments == (("n", ("each", "0.0")),)
    assert body.params == (Param("n", 0, whole=True, split=False),)
    assert run(planned, n=4) == [0, 0, 1, 5]


def test_what_all_items_share_is_read_one_scope_up() -> None:
    planned = plan(nested(adding(), x=each("numbers"), y=FromParam("n")))
    assert planned.bodies[1].steps[0].arguments == (("x", ("ref", "$x")), ("y", ("ref", "^$n")))
    assert [param.name for param in planned.bodies[1].params] == ["x"]
    assert run(planned, n=3) == [3, 4, 5]


def test_a_literal_stands_in_the_body_itself() -> None:
    planned = plan(nested(adding(), x=each("numbers"), y=Literal(7)))
    assert planned.bodies[1].steps[0].arguments[1] == ("y", ("lit", 7))


def test_what_is_put_together_is_a_parameter_even_if_shared() -> None:
    dag = graph({"f": task(total, xs=FromParam())}, "f", "xs")
    planned = plan(nested(dag, xs=ListOf((each("numbers"), FromParam("n"), Literal(1)))))
    assert planned.bodies[0].steps[1].arguments == (("xs", ("list", (("each", "0.0"), ("ref", "$n"), ("lit", 1)))),)
    assert run(planned, n=3) == [4, 5, 6]


def test_a_parameter_that_no_step_reads_is_not_stored() -> None:
    dag = graph({"f": task(nothing)}, "f", "x")
    planned = plan(nested(dag, x=each("numbers")))
    assert planned.bodies[1].params == ()
    assert planned.bodies[0].steps[1].arguments == ()
    assert run(planned, n=2) == [None, None]


def test_a_nested_map_counts_its_parameter() -> None:
    dag = graph({"f": task(square, x=Each(FromParam("xs"))), "t": task(total, xs=out("f"))}, "t", "xs")
    outer = graph(
        {
            "numbers": lister(numbers, n=FromParam()),
            "lists": task(numbers, n=each("numbers")),
            "inner": placed(dag, xs=each("lists")),
        },
        "inner",
        "n",
    )
    planned = plan(outer)
    assert planned.bodies[1].params == (Param("xs", 0, whole=False, split=True),)
    assert planned.bodies[1].steps[0].over == "$xs"
    assert planned.bodies[0].steps[2].over == "0.0"
    assert run(planned, n=4) == [0, 0, 1, 5]


def test_a_map_in_a_map_in_a_map_counts_carets() -> None:
    innermost = graph(
        {"numbers": lister(numbers, n=FromParam("n")), "add": task(add, x=each("numbers"), y=FromParam("k"))},
        "add",
        "n",
        "k",
    )
    middle = graph(
        {
            "numbers": lister(numbers, n=FromParam("n")),
            "deep": placed(innermost, n=each("numbers"), k=FromParam("k")),
        },
        "deep",
        "n",
        "k",
    )
    planned = plan(nested(middle, n=each("numbers"), k=FromParam("n")))
    assert [len(body.steps) for body in planned.bodies] == [2, 2, 2]
    assert planned.bodies[2].steps[1].arguments[1] == ("y", ("ref", "^^$n"))
    expected = [[[a + 3 for a in range(b)] for b in range(c)] for c in range(3)]
    assert run(planned, n=3) == expected


def test_a_shared_list_is_mapped_in_each_scope() -> None:
    dag = graph({"add": task(add, x=Each(FromParam("xs")), y=FromParam("y"))}, "add", "xs", "y")
    planned = plan(nested(dag, xs=out("numbers"), y=each("numbers")))
    step = planned.bodies[1].steps[0]
    assert (step.over, step.arguments[0]) == ("^0.0", ("x", ("each", "^0.0")))
    assert [output.split for output in planned.bodies[0].steps[0].outputs] == [True]
    assert run(planned, n=2) == [[0, 1], [1, 2]]


def test_the_results_of_a_fan_out_outside_are_counted_by_its_own_list() -> None:
    dag = graph({"add": task(add, x=Each(FromParam("xs")), y=FromParam("y"))}, "add", "xs", "y")
    outer = graph(
        {
            "numbers": lister(numbers, n=FromParam()),
            "square": task(square, x=each("numbers")),
            "inner": placed(dag, xs=out("square"), y=each("numbers")),
        },
        "inner",
        "n",
    )
    planned = plan(outer)
    step = planned.bodies[1].steps[0]
    assert (step.over, step.arguments[0]) == ("^0.0", ("x", ("each", "^1.0")))
    # All of square is complete before the first scope opens.
    assert topology(planned)[0][2].waits == 2
    assert run(planned, n=3) == [[0, 1, 4], [1, 2, 5], [2, 3, 6]]


def test_a_literal_list_is_gathered_in_each_scope() -> None:
    dag = graph({"add": task(add, x=Each(FromParam("xs")), y=FromParam("y"))}, "add", "xs", "y")
    planned = plan(nested(dag, xs=Literal([1, 2]), y=each("numbers")))
    assert [step.kind for step in planned.bodies[1].steps] == ["gather", "task"]
    assert run(planned, n=2) == [[1, 2], [2, 3]]


def test_outputs_of_a_body_are_those_that_somebody_reads() -> None:
    dag = DAG(
        {"a": task(square, x=FromParam("x")), "b": task(double, x=FromParam("x")), "c": task(nothing)},
        {"x": FromParam()},
        {"a": out("a"), "b": out("b"), "c": out("c")},
    )
    outer = DAG(
        {
            "numbers": lister(numbers, n=FromParam()),
            "inner": placed(dag, x=each("numbers")),
            "t": task(total, xs=FromNodeOutput("inner", "b")),
        },
        {"n": FromParam()},
        {"a": FromNodeOutput("inner", "a"), "t": out("t")},
    )
    planned = plan(outer)
    assert [name for name, _, _ in planned.bodies[1].outputs] == ["b", "a"]
    assert [output.name for output in planned.bodies[0].steps[1].outputs] == ["b", "a"]
    assert run(planned, n=3) == {"a": [0, 1, 4], "t": 6}


def test_a_body_may_give_back_a_shared_value() -> None:
    dag = DAG({"f": task(nothing)}, {"x": FromParam()}, {VALUE: FromParam("x")})
    planned = plan(nested(dag, x=FromParam("n"), y=each("numbers")))
    assert planned.bodies[1].outputs == ((VALUE, ("ref", "^$n"), 0),)
    assert run(planned, n=2) == [2, 2]


def test_results_of_a_mapped_dag_are_mapped_item_by_item() -> None:
    outer = nested(map_reduce(), n=each("numbers"))
    dag = graph({**outer.nodes, "double": task(double, x=each("inner"))}, "double", "n")
    step = plan(dag).bodies[0].steps[2]
    assert (step.over, step.arguments) == ("0.0", (("x", ("each", "1.0")),))
    assert run(plan(dag), n=4) == [0, 0, 2, 10]


def test_a_flattened_dag_within_a_mapped_one_belongs_to_its_body() -> None:
    middle = graph({"deep": placed(map_reduce(), n=FromParam("n"))}, "deep", "n")
    planned = plan(nested(middle, n=each("numbers")))
    assert [step.name for step in planned.bodies[1].steps] == ["deep/numbers", "deep/square", "deep/total"]
    assert run(planned, n=4) == [0, 0, 1, 5]


def test_a_thousand_maps_within_each_other_are_planned() -> None:
    dag = graph({"f": task(add, x=FromParam(), y=FromParam("k"))}, "f", "x", "k")
    for _ in range(1000):
        one = lister(numbers, n=FromParam("x"))
        dag = graph({"one": one, "in": placed(dag, x=each("one"), k=FromParam("k"))}, "in", "x", "k")
    planned = plan(dag)
    assert len(planned.bodies) == 1001
    assert planned.bodies[-1].steps[0].arguments[1] == ("y", ("ref", "^" * 1000 + "$k"))


def test_a_mapped_dag_comes_after_what_it_is_told_to() -> None:
    inner = placed(map_reduce(), n=each("numbers"), after=["early"])
    dag = graph({"early": task(nothing), "numbers": lister(numbers, n=FromParam()), "inner": inner}, "inner", "n")
    step = next(step for step in plan(dag).bodies[0].steps if step.name == "inner")
    assert step.after == (0,)


def test_a_mapped_dag_may_ignore_its_item() -> None:
    inner = DAG({"f": task(nothing)}, {}, {VALUE: out("f")}, over=out("numbers"))
    dag = graph({"numbers": lister(numbers, n=FromParam()), "inner": inner}, "inner", "n")
    assert run(plan(dag), n=2) == [None, None]


def test_a_mapped_dag_that_nobody_reads_stores_nothing() -> None:
    inner = placed(adding(), x=each("numbers"), y=out("numbers"))
    dag = DAG({"numbers": lister(numbers, n=FromParam()), "a": inner}, {"n": FromParam()}, {})
    planned = plan(dag)
    assert planned.bodies[0].steps[1].outputs == ()
    assert planned.bodies[1].outputs == ()
