"""A step that runs once per item knows what it counts, what it takes by item, and who stores elements."""

from __future__ import annotations

from collections import deque

import pytest

from dagcelery.errors import InvalidDag
from dagcelery.model import (
    DAG,
    Each,
    FromParam,
    FromPath,
    FromReturnValue,
    ListOf,
    Literal,
    Part,
    Splice,
    Task,
    TaskOptions,
    TupleOf,
)
from dagcelery.planner.compile import plan
from dagcelery.planner.ir import BodyIR, BodyParameter, StepIR, check_aligned
from dagcelery.planner.plan import StoredOutput

from .graphs import (
    VALUE,
    add,
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


def second(pair: tuple[int, int]) -> int:
    return pair[1]


def rows(n: int) -> list[dict[str, int]]:
    return [{"x": i} for i in range(n)]


def record() -> dict[str, list[int]]:
    return {"xs": [1, 2], "ys": [3]}


def test_the_producer_of_a_mapped_list_stores_its_elements_apart() -> None:
    body = plan(map_reduce()).bodies[0]
    assert body.steps[0].outputs == (StoredOutput(VALUE, (), 0, split=True),)
    assert (body.steps[1].over, body.steps[1].arguments) == ("0.0", (("x", ("each", "0.0")),))


def test_the_results_of_a_fan_out_are_read_as_a_list() -> None:
    body = plan(map_reduce()).bodies[0]
    assert body.steps[2].arguments == (("xs", ("ref", "1.0")),)
    assert run(plan(map_reduce()), n=4) == 14


def test_one_fan_out_may_follow_another_item_by_item() -> None:
    dag = graph(
        {
            "numbers": lister(numbers, n=FromParam()),
            "square": task(square, x=each("numbers")),
            "add": task(add, x=each("square"), y=each("numbers")),
            "total": task(total, xs=out("add")),
        },
        "total",
        "n",
    )
    step = plan(dag).bodies[0].steps[2]
    assert step.over == "0.0"
    assert step.arguments == (("x", ("each", "1.0")), ("y", ("each", "0.0")))
    assert run(plan(dag), n=4) == 14 + 6


def test_an_output_that_is_mapped_and_passed_whole_is_stored_in_both_forms() -> None:
    dag = DAG(
        {**map_reduce().nodes, "whole": task(total, xs=out("numbers"))},
        {"n": FromParam()},
        {
            "a": out("total"),
            "b": out("whole"),
        },
    )
    outputs = plan(dag).bodies[0].steps[0].outputs
    assert sorted((output.split, output.iterable) for output in outputs) == [(False, False), (True, False)]
    assert run(plan(dag), n=3) == {"a": 5, "b": 3}


def test_an_output_that_nobody_reads_is_not_stored() -> None:
    dag = graph({"a": task(nothing), "b": task(nothing, after=["a"])}, "b")
    assert plan(dag).bodies[0].steps[0].outputs == ()


def test_two_outputs_with_one_path_are_stored_once() -> None:
    node = Task(numbers, {"n": Literal(2)}, {"a": FromReturnValue(), "b": FromReturnValue()})
    dag = DAG({"f": node}, {}, {"a": out("f", "a"), "b": out("f", "b")})
    assert len(plan(dag).bodies[0].steps[0].outputs) == 1


def test_a_parameter_says_in_which_forms_it_is_read() -> None:
    dag = DAG(
        {"f": task(square, x=Each(FromParam("xs"))), "g": task(total, xs=FromParam())},
        {"xs": FromParam(), "unread": FromParam(), "whole": FromParam()},
        {"a": out("f"), "b": out("g"), "c": FromParam("whole")},
    )
    params = {param.name: (param.whole, param.split) for param in plan(dag).bodies[0].params}
    assert params == {"xs": (True, True), "unread": (False, False), "whole": (True, False)}
    assert run(plan(dag), xs=[1, 2], unread=None, whole=0) == {"a": [1, 4], "b": 3, "c": 0}


def test_partition_by_input_takes_that_input_by_item() -> None:
    node = Task(add, {"x": out("numbers"), "y": FromParam()}, {VALUE: FromReturnValue()}, None, "x")
    dag = graph({"numbers": lister(numbers, n=Literal(3)), "add": node}, "add", "y")
    assert run(plan(dag), y=10) == [10, 11, 12]


def test_a_literal_list_is_gathered_before_it_is_mapped() -> None:
    inner = placed(graph({"f": task(square, x=Each(FromParam("xs")))}, "f", "xs"), xs=Literal([1, 2, 3]))
    body = plan(graph({"inner": inner}, "inner")).bodies[0]
    assert [(step.name, step.kind, step.queue) for step in body.steps] == [
        ("inner/f.items", "gather", "celery"),
        ("inner/f", "task", "celery"),
    ]
    assert body.steps[0].arguments == (("value", ("lit", [1, 2, 3])),)
    assert body.steps[0].outputs == (StoredOutput("value", (), 0, split=True),)
    assert run(plan(graph({"inner": inner}, "inner"))) == [1, 4, 9]


def test_a_gathered_list_is_gathered_once_for_all_who_map_it() -> None:
    nodes = {
        "f": task(square, x=Each(FromParam("xs"))),
        "g": task(add, x=Each(FromParam("xs")), y=each("f")),
    }
    inner = placed(graph(nodes, "g", "xs"), xs=ListOf((Literal(1), out("a"))))
    dag = graph({"a": task(square, x=Literal(3)), "inner": inner}, "inner")
    assert [step.kind for step in plan(dag).bodies[0].steps].count("gather") == 1
    assert run(plan(dag)) == [2, 90]


def test_a_gather_goes_where_its_consumer_goes() -> None:
    nodes = {"f": task(square, TaskOptions(taints=("gpu",)), x=Each(FromParam("xs")))}
    inner = placed(graph(nodes, "f", "xs"), xs=Literal([1]))
    dag = graph({"a": task(nothing), "inner": inner}, "inner")
    assert [step.queue for step in plan(dag).bodies[0].steps] == ["celery", "gpu", "gpu"]


def test_a_list_with_one_element_per_result_is_followed_without_a_barrier() -> None:
    nodes = {"numbers": lister(numbers, n=FromParam()), "square": task(square, x=each("numbers"))}
    pairs = ListOf((Splice(TupleOf((each("numbers"), each("square"))), out("numbers")),))
    inner = DAG(nodes, {"n": FromParam()}, {VALUE: pairs})
    dag = graph({"inner": inner, "second": task(second, pair=each("inner"))}, "second", "n")
    body = plan(dag).bodies[0]
    assert [step.kind for step in body.steps] == ["task"] * 3
    assert body.steps[2].over == "0.0"
    assert body.steps[2].arguments == (("pair", ("tuple", (("each", "0.0"), ("each", "1.0")))),)
    assert run(plan(dag), n=4) == [0, 1, 4, 9]


def test_a_splice_puts_results_between_other_elements() -> None:
    parts = ListOf((Literal(100), Splice(each("square"), out("numbers")), FromParam("n")))
    dag = graph({**map_reduce().nodes, "all": task(total, xs=parts)}, "all", "n")
    step = next(step for step in plan(dag).bodies[0].steps if step.name == "all")
    items = (("lit", 100), ("splice", ("each", "1.0"), "0.0"), ("ref", "$n"))
    assert step.arguments == (("xs", ("list", items)),)
    assert run(plan(dag), n=3) == 100 + 5 + 3


def test_a_list_of_all_results_is_the_fan_outs_own_list() -> None:
    copied = ListOf((Splice(each("square"), out("square")),))
    dag = graph({**map_reduce().nodes, "all": task(total, xs=copied)}, "all", "n")
    step = next(step for step in plan(dag).bodies[0].steps if step.name == "all")
    assert step.arguments == (("xs", ("ref", "1.0")),)


def test_a_part_of_an_element_is_taken_by_its_reader() -> None:
    dag = graph(
        {"rows": lister(rows, n=FromParam()), "f": task(square, x=Part(each("rows"), (("key", "x"),)))}, "f", "n"
    )
    assert plan(dag).bodies[0].steps[1].arguments == (("x", ("part", ("each", "0.0"), (("key", "x"),))),)
    assert run(plan(dag), n=3) == [0, 1, 4]


def test_outputs_at_several_paths_are_mapped_apart() -> None:
    outputs = {name: FromPath((("key", name),), is_partitioned=True) for name in ("xs", "ys")}
    dag = DAG(
        {
            "r": Task(record, {}, outputs),
            "f": task(square, x=each("r", "xs")),
            "g": task(square, x=each("r", "ys")),
        },
        {},
        {"a": out("f"), "b": out("g")},
    )
    assert [step.over for step in plan(dag).bodies[0].steps] == [None, "0.0", "0.1"]
    assert run(plan(dag)) == {"a": [1, 4], "b": [9]}


def test_a_node_may_run_once_per_item_without_looking_at_it() -> None:
    node = Task(nothing, {}, {VALUE: FromReturnValue()}, over=out("numbers"))
    dag = graph({"numbers": lister(numbers, n=Literal(3)), "f": node}, "f")
    assert plan(dag).bodies[0].steps[1].over == "0.0"
    assert run(plan(dag)) == [None] * 3


def test_who_goes_through_a_fan_outs_results_unread_comes_after_it() -> None:
    node = Task(nothing, {}, {VALUE: FromReturnValue()}, over=out("square"))
    dag = graph({**map_reduce().nodes, "f": node}, "f", "n")
    step = next(step for step in plan(dag).bodies[0].steps if step.name == "f")
    assert (step.over, step.after) == ("0.0", (1,))


def test_an_expression_that_is_not_aligned_is_refused_by_the_planner_too() -> None:
    body = BodyIR(0, deque())
    xs, ys = BodyParameter(body, "xs", 0), BodyParameter(body, "ys", 0)
    with pytest.raises(InvalidDag, match=r"input 'x' of node 'f'.*parameter 'xs'.*parameter 'ys'"):
        check_aligned(StepIR(body, "f", "task", root=ys), "x", ("list", (("each", xs),)))
    with pytest.raises(InvalidDag, match="goes through no list"):
        check_aligned(StepIR(body, "f", "task"), "x", ("each", xs))
    check_aligned(StepIR(body, "f", "task", root=xs), "x", ("each", xs))
