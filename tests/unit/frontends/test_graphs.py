"""What the body of a DAG says, as nodes, inputs and outputs."""

from __future__ import annotations

from typing import Any

from dagcelery.frontends.functional import build, dag
from dagcelery.model import (
    DAG,
    DictOf,
    Each,
    FromKey,
    FromNodeOutput,
    FromParam,
    FromPath,
    FromProperty,
    FromReturnValue,
    ListOf,
    Literal,
    Splice,
    Task,
    TupleOf,
)

from .vocabulary import add, named_halves, numbers, record, same, seven, square, table, total


def of(node: str, output: str = "return_value") -> FromNodeOutput:
    return FromNodeOutput(node, output)


def test_a_call_becomes_a_node_and_an_argument_an_edge() -> None:
    @dag
    def d(x: int) -> int:
        return add(square(x), 3)

    built = build(d)
    assert built == DAG(
        {
            "square": Task(square.fn, {"x": FromParam("x")}, {"return_value": FromReturnValue()}),
            "add": Task(add.fn, {"a": of("square"), "b": Literal(3)}, {"return_value": FromReturnValue()}),
        },
        inputs={"x": FromParam()},
        outputs={"return_value": of("add")},
        name=built.name,
        returns=of("add"),
    )


def test_a_dag_is_called_after_its_module_and_function() -> None:
    assert build(_named).name == f"{__name__}:_named"


@dag
def _named() -> int:
    return seven()


def test_iterating_an_output_splits_it_and_makes_a_fan_out() -> None:
    @dag
    def d(n: int) -> int:
        return total([square(x) for x in numbers(n)])

    nodes = build(d).nodes
    assert nodes["numbers"].outputs == {"return_value": FromReturnValue(is_partitioned=True)}
    assert nodes["square"].inputs == {"x": Each(of("numbers"))}
    assert nodes["total"].inputs == {"xs": of("square")}


def test_a_map_of_a_map_waits_for_no_other_item() -> None:
    @dag
    def d(n: int) -> Any:
        return [add(square(x)) for x in numbers(n)]

    assert build(d).nodes["add"].inputs == {"a": Each(of("square"))}


def test_a_list_for_each_item_is_no_fan_in() -> None:
    @dag
    def d(n: int) -> Any:
        return [total([square(x)]) for x in numbers(n)]

    assert build(d).nodes["total"].inputs == {"xs": ListOf((Each(of("square")),))}


def test_a_list_of_made_up_elements_is_spliced() -> None:
    @dag
    def d(n: int) -> Any:
        return same([0, *[(x, square(x)) for x in numbers(n)]])

    template = TupleOf((Each(of("numbers")), Each(of("square"))))
    expected = ListOf((Literal(0), Splice(template, of("numbers"))))
    assert build(d).nodes["same"].inputs == {"value": expected}


def test_a_loop_that_ignores_its_element_runs_once_per_item_all_the_same() -> None:
    @dag
    def d(n: int) -> Any:
        return [seven() for _ in numbers(n)]

    seven_node = build(d).nodes["seven"]
    assert (seven_node.inputs, seven_node.over) == ({}, of("numbers"))


def test_a_loop_within_a_loop_becomes_a_nested_dag() -> None:
    @dag
    def d(n: int) -> Any:
        return [total([square(y) for y in numbers(x)]) for x in numbers(n)]

    nodes = build(d).nodes
    inner = nodes["square-each"]
    assert isinstance(inner, DAG)
    assert inner.inputs == {"numbers": Each(of("numbers-2"))}
    assert inner.nodes["square"].inputs == {"x": Each(FromParam("numbers"))}
    assert nodes["total"].inputs == {"xs": Each(of("square-each", "list"))}


def test_only_outputs_that_are_read_exist() -> None:
    @dag
    def d(x: int) -> Any:
        square(x)
        r = record(x)
        return same([r["a"], r["b"][1]["c"], named_halves(x).train])

    nodes = build(d).nodes
    assert nodes["square"].outputs == {}
    assert nodes["record"].outputs == {
        "key_a": FromKey("a"),
        "key_b_key_1_key_c": FromPath((("key", "b"), ("key", 1), ("key", "c"))),
    }
    assert nodes["named_halves"].outputs == {"property_train": FromProperty("train")}


def test_of_a_list_the_elements_are_the_whole_but_not_of_a_dict() -> None:
    @dag
    def d(n: int) -> Any:
        xs, squares = numbers(n), table(n)
        return [same([x, xs]) for x in xs], [same([x, squares]) for x in squares]

    nodes = build(d).nodes
    assert list(nodes["numbers"].outputs) == ["return_value"]
    assert nodes["table"].outputs == {
        "return_value_items": FromReturnValue(is_partitioned=True),
        "return_value": FromReturnValue(),
    }


def test_a_dag_declares_its_parameters_with_their_defaults() -> None:
    @dag
    def d(x: int, flag: bool = False) -> Any:
        return add(x, flag)

    assert build(d).inputs == {"x": FromParam(), "flag": FromParam(default_value=False)}


def test_defaults_of_tasks_are_left_to_their_functions() -> None:
    @dag
    def d(x: int) -> Any:
        return add(x)

    assert list(build(d).nodes["add"].inputs) == ["a"]


def test_a_returned_dict_gives_an_output_per_key() -> None:
    @dag
    def d(x: int) -> Any:
        return {"sum": add(x), "in": [x, 1]}

    built = build(d)
    assert built.returns == DictOf((("sum", of("add")), ("in", ListOf((FromParam("x"), Literal(1))))))
    assert list(built.outputs) == ["key_sum", "key_in"]


def test_a_nested_dag_gives_only_what_is_read_and_passes_the_rest_through() -> None:
    @dag
    def inner(x: int) -> Any:
        return {"made": square(x), "given": x, "known": 1, "unread": seven()}

    @dag
    def outer(x: int) -> Any:
        got = inner(add(x))
        return got["made"], got["given"], got["known"]

    built = build(outer)
    assert list(built.nodes["inner"].outputs) == ["key_made"]
    assert built.returns == TupleOf((of("inner", "key_made"), of("add"), Literal(1)))


def test_a_second_use_is_numbered_and_a_name_is_kept() -> None:
    @dag
    def d(x: int) -> Any:
        return add(square(x), square.options(name="other")(square(x)))

    assert list(build(d).nodes) == ["square", "square-2", "other", "add"]


def test_order_edges_join_nodes_without_data() -> None:
    @dag
    def d(n: int) -> Any:
        first = seven()
        mapped = [add.after(first)(x) for x in numbers(n)]
        return square.after(mapped, first)(n)

    nodes = build(d).nodes
    assert nodes["add"].after == ("seven",)
    assert nodes["square"].after == ("add", "seven")


def test_dags_have_an_order_too() -> None:
    @dag
    def inner(x: int) -> None:
        square(x)

    @dag
    def outer(x: int) -> Any:
        return seven.after(inner.after(add(x))(x))()

    nodes = build(outer).nodes
    assert nodes["inner"].after == ("add",)
    assert nodes["seven"].after == ("inner",)


def test_a_list_changed_after_the_call_changes_nothing() -> None:
    @dag
    def d() -> Any:
        kept = [1, [2]]
        made = same(kept)
        kept.append(3)
        return made

    assert build(d).nodes["same"].inputs == {"value": Literal([1, [2]])}


def test_sets_and_equal_outputs_in_them_work() -> None:
    @dag
    def d(x: int) -> Any:
        r = record(x)
        return same(len({r["a"], r["a"], r["b"]}))

    assert build(d).nodes["same"].inputs == {"value": Literal(2)}
