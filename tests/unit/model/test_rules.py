"""The rules that every DAG keeps; each error names the culprit, what is wrong and what would be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagcelery.errors import CyclicDependency, InvalidDag
from dagcelery.model import (
    DAG,
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
    "a splice outside of a list": (
        lambda: node(one, x=TupleOf((Splice(Each(out("a")), out("a")),))),  # type: ignore[arg-type]
        "a Splice: is not in a ListOf",
    ),
    "each of a literal": (lambda: node(one, x=Each(Literal([1]))), "Each: cannot hold"),  # type: ignore[arg-type]
    "a list put together to split": (
        lambda: Task(one, {"x": ListOf((FromParam(),))}, partition_by_input="x"),
        "is a ListOf, not one list",
    ),
    "an unknown parameter in a list": (
        lambda: DAG({"a": node(one, x=ListOf((FromParam("z"),)))}, PARAMS),
        "parameter 'z'.*there are 'xs' and 'ys'",
    ),
    "an element given back": (
        lambda: DAG({"a": SPLIT}, outputs={"o": Each(out("a"))}),
        "takes one element.*leave Each out",
    ),
    "over a list that is not split": (
        lambda: DAG({"a": node(), "b": Task(listed, over=out("a"))}),
        "is_partitioned=True",
    ),
    "a splice of two lists": (
        lambda: DAG({"a": node(one, x=ListOf((Splice(Each(FromParam("xs")), FromParam("ys")),)))}, PARAMS),
        "takes items of parameter 'xs' while it goes through parameter 'ys'",
    ),
    "a splice of one value": (
        lambda: DAG({"a": node(one, x=ListOf((Splice(Literal(1), FromParam("xs")),)))}, PARAMS),
        "repeats one element.*use Each",
    ),
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


ALLOWED: dict[str, Callable[[], object]] = {
    "letters of other alphabets": lambda: DAG({"größe": node()}),
    "a nameless parameter is called like the input": lambda: DAG({"a": node(one, x=FromParam())}, {"x": FromParam()}),
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
