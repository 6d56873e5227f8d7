"""The rules that every DAG keeps; each error names the culprit, what is wrong and what would be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagcelery.errors import CyclicDependency, InvalidDag
from dagcelery.model import (
    DAG,
    DictOf,
    Each,
    FromKey,
    FromNodeOutput,
    FromParam,
    FromReturnValue,
    ListOf,
    Literal,
    Part,
    Splice,
    Task,
    TaskOptions,
    TupleOf,
)


class Pickled:
    extension = "pickle"

    def serialize(self, value: Any, writer: Any) -> None: ...

    def deserialize(self, reader: Any) -> Any: ...

    def __repr__(self) -> str:
        return "Pickled()"


PICKLED = Pickled()


def one(x: Any) -> Any:
    return x


def two(a: Any, b: Any = 0) -> Any:
    return a


def many(**given: Any) -> Any:
    return given


def listed(n: Any = 0) -> list[Any]:
    return []


def node(func: Callable[..., Any] = listed, split: bool = False, **inputs: Any) -> Task:
    """A node that keeps its returned value as output `out`."""
    return Task(func, inputs, {"out": FromReturnValue(is_partitioned=split)})


def out(name: str) -> FromNodeOutput:
    return FromNodeOutput(name, "out")


SPLIT = node(split=True)
PARAMS = {"xs": FromParam(), "ys": FromParam()}

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no nodes": (lambda: DAG({}), "A DAG needs to contain at least one node"),
    "a node name of an address": (lambda: DAG({"a[0]": node()}), r"node 'a\[0\]'.*valid name.*letters"),
    "an empty node name": (lambda: DAG({"": node()}), "valid name"),
    "a long node name": (lambda: DAG({"a" * 65: node()}), "up to 64"),
    "an input name": (lambda: Task(many, {"a.b": FromParam()}), r"input 'a\.b' of task 'many'"),
    "an output name": (lambda: Task(listed, {}, {"a/b": FromReturnValue()}), "output 'a/b'"),
    "a plain value as input": (lambda: node(one, x=3), r"input 'x'.*'int'.*Literal\(...\) holds a value"),
    "a plain value in a list": (lambda: node(one, x=ListOf((3,))), "ListOf: cannot hold 3"),  # type: ignore[arg-type]
    "a splice outside of a list": (
        lambda: node(one, x=TupleOf((Splice(Each(out("a")), out("a")),))),  # type: ignore[arg-type]
        "a Splice: is not in a ListOf",
    ),
    "each of a literal": (lambda: node(one, x=Each(Literal([1]))), "Each: cannot hold"),  # type: ignore[arg-type]
    "an unsupported output": (lambda: Task(listed, {}, {"o": 3}), "'o' of task 'listed'.*'FromKey'"),  # type: ignore[dict-item]
    "an unsupported node": (lambda: DAG({"a": listed}), "node 'a'.*give a Task or a DAG"),  # type: ignore[dict-item]
    "no function": (lambda: Task("listed"), "cannot be called; give a function"),  # type: ignore[arg-type]
    "an unknown argument": (lambda: node(one, y=FromParam()), r"task 'one' with input 'y'.*signature \(x"),
    "a missing argument": (lambda: node(two, b=FromParam()), "missing a required argument: 'a'"),
    "no such input to split": (
        lambda: Task(two, {"a": FromParam()}, partition_by_input="as"),
        "partition_by_input='as'.*did you mean 'a'",
    ),
    "a list put together to split": (
        lambda: Task(one, {"x": ListOf((FromParam(),))}, partition_by_input="x"),
        "is a ListOf, not one list",
    ),
    "a split fan-out": (lambda: node(one, split=True, x=Each(out("a"))), "output 'out'.*nested DAG"),
    "an unknown node": (
        lambda: DAG({"load": node(), "b": node(one, x=out("laod"))}),
        "Error validating input 'x' of node 'b': reads node 'laod'.*did you mean 'load'",
    ),
    "an unknown output": (
        lambda: DAG({"a": node(), "b": node(one, x=FromNodeOutput("a", "outs"))}),
        "input 'x' of node 'b'.*'outs'.*did you mean 'out'",
    ),
    "an unknown parameter": (
        lambda: DAG({"a": node(one, x=FromParam("x"))}, PARAMS),
        "input 'x' of node 'a'.*parameter 'x'",
    ),
    "an unknown parameter in a list": (
        lambda: DAG({"a": node(one, x=ListOf((FromParam("z"),)))}, PARAMS),
        "parameter 'z'.*there are 'xs' and 'ys'",
    ),
    "an output of no node": (
        lambda: DAG({"a": node()}, outputs={"o": out("b")}),
        "output 'o' of this DAG: reads node 'b'",
    ),
    "a returned value of no node": (
        lambda: DAG({"a": node()}, name="etl", returns=DictOf((("k", out("b")),))),
        "the returned value of DAG 'etl': reads node 'b'",
    ),
    "an element given back": (
        lambda: DAG({"a": SPLIT}, outputs={"o": Each(out("a"))}),
        "takes one element.*leave Each out",
    ),
    "an unknown upstream": (
        lambda: DAG({"a": node(), "b": Task(listed, after=["c"])}),
        "after='c' of node 'b'",
    ),
    "another serializer than the writer's": (
        lambda: DAG({"a": node(), "b": node(one, x=FromNodeOutput("a", "out", PICKLED))}),
        r"Pickled\(\).*the same serializer at both ends",
    ),
    "another serializer than the parameter's": (
        lambda: DAG({"a": node(one, x=FromParam("xs", PICKLED))}, PARAMS),
        r"reads with Pickled\(\)",
    ),
    "a list that is not split": (
        lambda: DAG({"a": node(), "b": node(one, x=Each(out("a")))}),
        "node 'b'.*output 'out' of node 'a'.*is_partitioned=True",
    ),
    "over a list that is not split": (
        lambda: DAG({"a": node(), "b": Task(listed, over=out("a"))}),
        "is_partitioned=True",
    ),
    "items of two lists": (
        lambda: DAG({"a": node(two, a=Each(FromParam("xs")), b=Each(FromParam("ys")))}, PARAMS),
        "node 'a': takes items of parameter 'xs' and of parameter 'ys' at once; .*nested DAG",
    ),
    "a splice of two lists": (
        lambda: DAG({"a": node(one, x=ListOf((Splice(Each(FromParam("xs")), FromParam("ys")),)))}, PARAMS),
        "takes items of parameter 'xs' while it goes through parameter 'ys'",
    ),
    "a splice of one value": (
        lambda: DAG({"a": node(one, x=ListOf((Splice(Literal(1), FromParam("xs")),)))}, PARAMS),
        "repeats one element.*use Each",
    ),
    "a queue and a taint": (
        lambda: TaskOptions(queue="big", taints=("gpu",)),
        "queue='big' with taint='gpu'.*give either",
    ),
    "a taint that joins": (lambda: TaskOptions(taints=("a+b",)), r"has a '\+'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(InvalidDag, match=message):
        make()


def test_nodes_that_need_each_other_are_refused_in_their_order() -> None:
    with pytest.raises(CyclicDependency, match=r"a -> \w -> \w -> a") as caught:
        DAG({"a": node(one, x=out("b")), "b": node(one, x=out("c")), "c": node(one, x=out("a"))})
    assert caught.value.nodes == ("a", "b", "c")


def test_a_node_that_needs_itself_is_refused() -> None:
    with pytest.raises(CyclicDependency, match="a -> a"):
        DAG({"a": node(one, x=ListOf((out("a"),)))})


def test_an_order_makes_a_circle_too() -> None:
    with pytest.raises(CyclicDependency):
        DAG({"a": Task(listed, after=["b"]), "b": Task(listed, after=["a"])})


ALLOWED: dict[str, Callable[[], object]] = {
    "underscores in names": lambda: DAG({"_load_all": node()}),
    "letters of other alphabets": lambda: DAG({"größe": node()}),
    "a parameter with a default need not be declared": lambda: DAG(
        {"a": node(one, x=FromParam("x", default_value=None))}
    ),
    "a nameless parameter is called like the input": lambda: DAG({"a": node(one, x=FromParam())}, {"x": FromParam()}),
    "a task split by a parameter": lambda: DAG(
        {"a": Task(one, {"x": FromParam("xs")}, partition_by_input="x")}, PARAMS
    ),
    "a fan-out given back": lambda: DAG({"a": SPLIT, "b": node(one, x=Each(out("a")))}, outputs={"o": out("b")}),
    "two outputs of one value": lambda: DAG({"a": node()}, outputs={"o": out("a"), "p": out("a")}),
    "a map of a map": lambda: DAG({"a": SPLIT, "b": node(one, x=Each(out("a"))), "c": node(one, x=Each(out("b")))}),
    "a map of a map, declared": lambda: DAG(
        {
            "a": SPLIT,
            "b": Task(one, {"x": out("a")}, {"out": FromReturnValue()}, partition_by_input="x"),
            "c": Task(one, {"x": out("b")}, partition_by_input="x"),
        }
    ),
    "an element beside its result": lambda: DAG(
        {"a": SPLIT, "b": node(one, x=Each(out("a"))), "c": node(two, a=Each(out("a")), b=Each(out("b")))}
    ),
    "a list beside its element": lambda: DAG({"a": SPLIT, "b": node(two, a=Each(out("a")), b=out("a"))}),
    "a nested DAG's output iterated": lambda: DAG(
        {"a": DAG({"in": node()}, outputs={"out": out("in")}), "b": node(one, x=Each(out("a")))}
    ),
    "a part of an element": lambda: DAG({"a": node(one, x=Part(Each(FromParam("xs")), (("key", "k"),)))}, PARAMS),
    "a mixed list": lambda: DAG({"a": SPLIT, "b": node(one, x=ListOf((Literal(1), Splice(Each(out("a")), out("a")))))}),
    "keyword arguments": lambda: Task(many, {"a": FromParam(), "b": Literal(1)}),
    "a built-in function without a signature": lambda: Task(dict, {"x": Literal(1)}),
    "a reader that leaves the serializer to the writer": lambda: DAG(
        {
            "a": Task(listed, {}, {"out": FromKey("k", PICKLED)}),
            "b": node(one, x=out("a")),
            "c": node(one, x=FromNodeOutput("a", "out", PICKLED)),
        }
    ),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_it_is_allowed(name: str) -> None:
    assert ALLOWED[name]()


def test_errors_of_types_are_type_errors_too() -> None:
    with pytest.raises(TypeError):
        node(one, x=3)
    with pytest.raises(ValueError, match="x"):
        node(one, x=3)
