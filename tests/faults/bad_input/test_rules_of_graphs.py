"""The rules that a DAG keeps which is written as data: each broken one is told when the DAG is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagcelery import DAG, AsPickle, FromKey, FromNodeOutput, FromParam, FromReturnValue, Task, invoke
from dagcelery.errors import CyclicDependency, InvalidDagType
from dagcelery.model import DictOf, Each, ListOf, Part

from .telling import Bad


def one(x: Any) -> Any:
    return x


def two(x: Any, y: Any = 0) -> Any:
    return [x, y]


def nothing() -> list[Any]:
    return []


def node(func: Callable[..., Any] = nothing, split: bool = False, **inputs: Any) -> Task:
    return Task(func, inputs, {"out": FromReturnValue(is_partitioned=split)})


def out(name: str, output: Any = "out") -> FromNodeOutput:
    return FromNodeOutput(name, output)


PARAM = {"x": FromParam()}
PARAMS = {"xs": FromParam(), "ys": FromParam()}
PICKLE = AsPickle()
ANY: Any = object()

# By the number of the rule in the table that other libraries of this kind have in common.
REFUSED = {
    "1 no nodes": Bad(lambda: DAG({}), "this DAG", "has no node", "at least one node"),
    "1 a list of nodes": Bad(lambda: DAG([node()]), "the nodes of a DAG", "not a mapping", "give a dict"),
    "1 None for nodes": Bad(lambda: DAG(None), "the nodes of a DAG", "None", "give a dict"),
    "1 a node that is none": Bad(lambda: DAG({"a": one}), "node 'a'", "'function'", "give a Task or a DAG"),
    "2 a node name with a slash": Bad(lambda: DAG({"a/b": node()}), "'a/b'", "not a valid name", "letters, digits"),
    "2 a long node name": Bad(lambda: DAG({"a" * 65: node()}), "'aaa", "not a valid name", "up to 64"),
    "2 an empty node name": Bad(lambda: DAG({"": node()}), "node ''", "not a valid name", "letters, digits"),
    "2 a number for a node name": Bad(lambda: DAG({7: node()}), "node 7", "not a valid name", "letters, digits"),
    "2 a list for a DAG's name": Bad(lambda: DAG({"a": node()}, name=["d"]), "name=['d']", "not a str", "give a str"),
    "3 an input name": Bad(lambda: Task(dict, {"a.b": FromParam()}), "input 'a.b'", "not a valid name", "letters"),
    "3 an output name": Bad(lambda: Task(nothing, {}, {"a:b": FromReturnValue()}), "'a:b'", "valid name", "letters"),
    "3 a DAG's output name": Bad(
        lambda: DAG({"a": node()}, outputs={"o p": out("a")}), "output 'o p'", "not a valid name", "letters"
    ),
    "4 a value for an input": Bad(lambda: node(one, x=3), "input 'x' of task 'one'", "'int'", "Literal(...) holds"),
    "4 a value for a DAG's input": Bad(lambda: DAG({"a": node()}, {"x": 3}), "input 'x'", "'int'", "'FromParam'"),
    "4 a value for a DAG's output": Bad(lambda: DAG({"a": node()}, outputs={"o": 3}), "'o'", "'int'", "FromNodeOutput"),
    "4 a list that holds a value": Bad(lambda: node(one, x=ListOf((3,))), "ListOf", "cannot hold 3", "Literal(...)"),
    "4 a list of nothing that lists": Bad(lambda: node(one, x=ListOf(ANY)), "ListOf", "not a tuple", "write ListOf"),
    "4 a dict of no pairs": Bad(lambda: node(one, x=DictOf(ANY)), "DictOf", "not a tuple", "write DictOf"),
    "4 a part without steps": Bad(lambda: node(one, x=Part(FromParam(), ANY)), "Part", "not a tuple", "write Part"),
    "4 a list of inputs": Bad(lambda: Task(one, ["x"]), "the inputs of a task", "['x']", "give a dict"),
    "5 a value for an output": Bad(lambda: Task(nothing, {}, {"o": 3}), "output 'o'", "'int'", "'FromReturnValue'"),
    "5 a key that is none": Bad(lambda: Task(nothing, {}, {"o": FromKey(ANY)}), "output 'o'", "FromKey", "name a key"),
    "5 no mapping of outputs": Bad(lambda: Task(nothing, {}, ANY), "the outputs of a task", "not a mapping", "a dict"),
    "6 an argument too many": Bad(lambda: node(one, x=FromParam(), y=FromParam()), "'y'", "'y'", "signature (x"),
    "6 an argument too few": Bad(lambda: node(one), "task 'one' with no inputs", "missing", "signature (x"),
    "6 no function": Bad(lambda: node(ANY), "func=", "cannot be called", "give a function"),
    "7 a task split by no input": Bad(
        lambda: Task(two, {"x": FromParam()}, partition_by_input="xs"), "'xs' of task 'two'", "none of", "mean 'x'"
    ),
    "7 a task split by no name": Bad(
        lambda: Task(one, {"x": FromParam()}, partition_by_input=["x"]), "['x']", "none of its inputs", "there is 'x'"
    ),
    "7 a DAG split by no input": Bad(
        lambda: DAG({"a": node()}, PARAM, partition_by_input="z"), "'z'", "none of its inputs", "there is 'x'"
    ),
    "9 a fan-out whose output is split again": Bad(
        lambda: node(one, split=True, x=Each(out("a"))), "output 'out'", "so is the task itself", "nested DAG"
    ),
    "10 an output of a missing node": Bad(
        lambda: DAG({"load": node()}, outputs={"o": out("laod")}), "output 'o'", "reads node 'laod'", "mean 'load'"
    ),
    "10 a missing output of a node": Bad(
        lambda: DAG({"a": node()}, outputs={"o": out("a", "ouy")}), "output 'o'", "output 'ouy'", "mean 'out'"
    ),
    "10 a returned value of a missing node": Bad(
        lambda: DAG({"a": node()}, returns=out("b")), "the returned value", "reads node 'b'", "there is 'a'"
    ),
    "13 an input from a missing node": Bad(
        lambda: DAG({"load": node(), "b": node(one, x=out("lod"))}),
        "Error validating input 'x' of node 'b'",
        "reads node 'lod'",
        "did you mean 'load'",
    ),
    "13 an input from a missing output": Bad(
        lambda: DAG({"a": node(), "b": node(one, x=out("a", "o"))}), "'x' of node 'b'", "output 'o'", "there is 'out'"
    ),
    "13 an input from a missing parameter": Bad(
        lambda: DAG({"a": node(one, x=FromParam("y"))}, PARAM), "'x' of node 'a'", "parameter 'y'", "there is 'x'"
    ),
    "13 an input from a list for a name": Bad(
        lambda: DAG({"a": node(one, x=FromParam([]))}, PARAM), "'x' of node 'a'", "parameter []", "there is 'x'"
    ),
    "13 an order after a missing node": Bad(
        lambda: DAG({"load": node(), "b": Task(nothing, after="lod")}), "after='lod'", "not a node", "mean 'load'"
    ),
    "13 an order after no name": Bad(lambda: Task(nothing, after=7), "after=7", "neither a word", "give words"),
    "14 another serializer than the writer's": Bad(
        lambda: DAG({"a": node(), "b": node(one, x=FromNodeOutput("a", "out", PICKLE))}),
        "'x' of node 'b'",
        "reads with AsPickle()",
        "the same serializer at both ends",
    ),
    "14 another serializer than the parameter's": Bad(
        lambda: DAG({"a": node(one, x=FromParam("x", serializer=PICKLE))}, PARAM),
        "'x' of node 'a'",
        "AsPickle()",
        "at both ends",
    ),
    "14 a serializer in the place of a default": Bad(
        lambda: node(one, x=FromParam("x", PICKLE)),
        "'x' of task 'one'",
        "as its default value",
        "serializer=AsPickle()",
    ),
    "14 a serializer that is none": Bad(
        lambda: Task(nothing, {}, {"o": FromReturnValue("json")}), "serializer='json'", "not a serializer", "AsPickle()"
    ),
    "14 a class for a serializer": Bad(
        lambda: node(one, x=FromParam("x", serializer=AsPickle)), "AsPickle'", "not a serializer", "AsPickle()"
    ),
    "17 a list that is not kept by element": Bad(
        lambda: DAG({"a": node(), "b": node(one, x=Each(out("a")))}),
        "node 'b'",
        "output 'out' of node 'a', which is not partitioned",
        "is_partitioned=True",
    ),
    "18 nodes that need each other": Bad(
        lambda: DAG({"a": node(one, x=out("b")), "b": node(one, x=out("a"))}),
        "nodes a -> b -> a",
        "in a cycle",
        "remove one",
        CyclicDependency,
    ),
    "18 a node that needs itself": Bad(
        lambda: DAG({"a": node(one, x=out("a"))}), "nodes a -> a", "in a cycle", "remove one", CyclicDependency
    ),
    "18 nodes in an impossible order": Bad(
        lambda: DAG({"a": Task(nothing, after=["b"]), "b": Task(nothing, after=["a"])}),
        "a -> b",
        "in a cycle",
        "remove one",
        CyclicDependency,
    ),
    "19 another node": Bad(
        lambda: DAG({"a": node()}).nodes.__setitem__("b", node()), "nodes of a DAG", "cannot be changed", "a new one"
    ),
    "19 an input less": Bad(
        lambda: node(one, x=FromParam()).inputs.__delitem__("x"), "inputs of a task", "cannot be changed", "a new one"
    ),
    "19 another output": Bad(
        lambda: node().outputs.__setitem__("p", None), "outputs of a task", "cannot be changed", "a new one"
    ),
    "23 items of two lists at once": Bad(
        lambda: DAG({"a": node(two, x=Each(FromParam("xs")), y=Each(FromParam("ys")))}, PARAMS),
        "node 'a'",
        "items of parameter 'xs' and of parameter 'ys' at once",
        "nested DAG",
    ),
}


@pytest.mark.parametrize("rule", REFUSED)
def test_a_graph_that_breaks_a_rule_is_refused_when_it_is_made(rule: str) -> None:
    REFUSED[rule].is_refused()


@pytest.mark.parametrize("rule", [name for name in REFUSED if name.split()[0] in {"4", "5", "6", "19"}])
def test_what_is_of_a_wrong_type_is_a_type_error_and_a_value_error_too(rule: str) -> None:
    with pytest.raises(TypeError) as caught:
        REFUSED[rule].do()
    assert isinstance(caught.value, InvalidDagType)
    assert isinstance(caught.value, ValueError)


# --- the rules that fell: a DAG that may be, its parameters, and what comes out of it ---

TWO = Task(lambda: [1, 2], {}, {"out": FromReturnValue(is_partitioned=True)})
EACH_OF_XS = Task(one, {"x": FromParam("xs")}, {"out": FromReturnValue()}, partition_by_input="x")
NESTED_EACH_OF_XS = DAG(
    {"in": node(one, x=FromParam("x"))}, {"x": FromParam("xs")}, {"out": out("in")}, partition_by_input="x"
)

ALLOWED: dict[str, tuple[DAG, dict[str, Any], Any]] = {
    "2 an underscore in a name": (DAG({"_load_all": node()}, returns=out("_load_all")), {}, []),
    "8 a task split by a parameter": (DAG({"a": EACH_OF_XS}, PARAMS, returns=out("a")), {"xs": [1], "ys": 0}, [1]),
    "11 a fan-out given back": (
        DAG({"a": TWO, "b": node(one, x=Each(out("a")))}, outputs={"o": out("b")}),
        {},
        {"o": [1, 2]},
    ),
    "12 one value given back twice": (
        DAG({"a": TWO}, outputs={"o": out("a"), "p": out("a")}),
        {},
        {"o": [1, 2], "p": [1, 2]},
    ),
    "13 a missing parameter with a default": (
        DAG({"a": node(one, x=FromParam("x", default_value=7))}, returns=out("a")),
        {},
        7,
    ),
    "15 a nested DAG split by a parameter": (
        DAG({"a": NESTED_EACH_OF_XS}, PARAMS, returns=out("a")),
        {"xs": [1, 2], "ys": 0},
        [1, 2],
    ),
    "16 a map of a map": (
        DAG({"a": TWO, "b": node(one, x=Each(out("a"))), "c": node(one, x=Each(out("b")))}, returns=out("c")),
        {},
        [1, 2],
    ),
    "23 two items of one list": (
        DAG({"a": TWO, "b": node(two, x=Each(out("a")), y=Each(out("a")))}, returns=out("b")),
        {},
        [[1, 1], [2, 2]],
    ),
}


@pytest.mark.parametrize("rule", ALLOWED)
def test_a_rule_that_fell_allows_what_it_forbade(rule: str) -> None:
    made, params, expected = ALLOWED[rule]
    assert invoke(made, params) == expected
