"""Each stored value has a codec: its own, its task's, that of its DAG, or one that takes all of its parts."""

from __future__ import annotations

import base64
import dataclasses
import pickle
import threading

from dagcelery.model import (
    DAG,
    DagOptions,
    DictOf,
    FromParam,
    FromPath,
    FromReturnValue,
    ListOf,
    Literal,
    Part,
    Serialize,
    Task,
    TaskOptions,
    TaskOutput,
)
from dagcelery.payload.codecs import AsJSON, AsPickle
from dagcelery.planner.compile import plan
from dagcelery.planner.encoding import decode_plan, encode_plan

from .graphs import VALUE, each, graph, lister, nothing, numbers, out, placed, square, task


class AsColour:
    extension = "colour"

    def serialize(self, value: object, writer: object) -> None:
        raise NotImplementedError

    def deserialize(self, reader: object) -> object:
        raise NotImplementedError


class AsUnhashable(AsColour):
    __hash__ = None  # type: ignore[assignment]


def test_the_default_codec_is_the_dags() -> None:
    dag = graph({"f": task(nothing)}, "f", options=DagOptions(serializer=AsPickle()))
    assert plan(dag).codecs == ({"kind": "pickle"},)
    assert plan(graph({"f": task(nothing)}, "f"), serializer={"kind": "pickle"}).codecs == ({"kind": "pickle"},)


def test_the_plain_json_serializer_is_the_default_codec() -> None:
    node = Task(nothing, {}, {VALUE: FromReturnValue(AsJSON())})
    assert plan(graph({"f": node}, "f")).codecs == ({"kind": "json"},)


def test_an_indentation_makes_another_codec() -> None:
    node = Task(nothing, {}, {VALUE: FromReturnValue(AsJSON(indent=0))})
    assert plan(graph({"f": node}, "f")).codecs == ({"kind": "json"}, {"kind": "json", "indent": 0})


def test_a_serializer_of_the_users_own_stays_an_object_until_it_is_encoded() -> None:
    serializer = AsColour()
    node = Task(nothing, {}, {VALUE: FromReturnValue(serializer)})
    planned = plan(graph({"f": node, "g": node}, "f"))
    assert planned.codecs == ({"kind": "json"}, {"kind": "object", "live": serializer})
    decoded = decode_plan(encode_plan(planned)).codecs[1]
    assert isinstance(pickle.loads(base64.b64decode(decoded["pickle"])), AsColour)


def test_serializers_that_say_that_they_are_equal_are_two_where_nothing_else_tells_whether_they_are() -> None:
    @dataclasses.dataclass(frozen=True)
    class AsLocked(AsColour):
        lock: object = dataclasses.field(default_factory=threading.Lock, compare=False)

    nodes = {name: Task(nothing, {}, {VALUE: FromReturnValue(AsLocked())}) for name in ("f", "g")}
    assert len(plan(graph(nodes, "f")).codecs) == 3


def test_what_is_put_together_from_pickled_parts_is_pickled() -> None:
    node = Task(numbers, {"n": Literal(2)}, {VALUE: FromReturnValue(AsPickle(), is_partitioned=True)})
    dag = graph({"f": node, "g": task(nothing)}, "g", returns=ListOf((out("f"),)))
    both = DAG(dag.nodes, {}, {"a": ListOf((out("f"), Literal(1))), "b": out("g")})
    planned = plan(both)
    assert {name: planned.codecs[codec]["kind"] for name, _, codec in planned.bodies[0].outputs} == {
        "a": "pickle",
        "b": "json",
    }


def test_a_nested_dag_has_its_own_default_codec() -> None:
    inner = graph({"f": task(nothing)}, "f", options=DagOptions(serializer=AsPickle()))
    dag = DAG({"inner": inner, "g": task(nothing)}, {}, {"a": out("inner"), "b": out("g")})
    planned = plan(dag)
    codecs = {step.name: planned.codecs[step.outputs[0].codec]["kind"] for step in planned.bodies[0].steps}
    assert codecs == {"inner/f": "pickle", "g": "json"}


def kinds(dag: DAG) -> dict[str, str]:
    """Return what carries each output that `dag` gives back."""
    planned = plan(dag)
    return {name: planned.codecs[codec]["kind"] for name, _, codec in planned.bodies[0].outputs}


def test_a_serializer_that_cannot_be_hashed_is_told_by_identity() -> None:
    one, two = AsUnhashable(), AsUnhashable()
    nodes = {name: Task(nothing, {}, {VALUE: FromReturnValue(kind)}) for name, kind in [("a", one), ("b", two)]}
    again = Task(nothing, {}, {VALUE: FromReturnValue(one)})
    planned = plan(DAG({**nodes, "c": again}, {}, {name: out(name) for name in "abc"}))
    assert [codec.get("live") for codec in planned.codecs] == [None, one, two]


def test_a_tasks_serializer_carries_its_outputs() -> None:
    assert kinds(graph({"f": task(nothing, TaskOptions(serializer=AsPickle()))}, "f")) == {VALUE: "pickle"}


def test_parts_of_a_returned_value_have_serializers_of_their_own() -> None:
    outputs: dict[str, TaskOutput] = {
        "whole": FromReturnValue(),
        "a": FromPath((("key", "a"),)),
        "b": FromPath((("key", "b"),)),
        "deep": FromPath((("key", "a"), ("key", "x"))),
        "own": FromPath((("key", "a"), ("key", "y")), AsJSON()),
    }
    options = TaskOptions(serializer=Serialize(root=AsPickle(), a=AsColour()))
    dag = DAG({"f": Task(nothing, {}, outputs, options=options)}, {}, {name: out("f", name) for name in outputs})
    assert kinds(dag) == {"whole": "pickle", "a": "object", "b": "pickle", "deep": "pickle", "own": "json"}


def test_a_literal_object_within_a_result_is_pickled() -> None:
    values = {
        "dict": DictOf((("a", Literal(AsColour())),)),
        "part": Part(FromParam("p"), (("key", 0),)),
        "list": ListOf((Literal(1), Literal((2,)))),
    }
    dag = DAG({"f": task(nothing)}, {"p": FromParam()}, values)
    assert kinds(dag) == {"dict": "pickle", "part": "json", "list": "json"}


def test_a_parameter_of_a_body_is_carried_like_its_source() -> None:
    node = Task(numbers, {"n": FromParam()}, {VALUE: FromReturnValue(AsPickle(), is_partitioned=True)})
    inner = placed(graph({"f": task(square, x=FromParam())}, "f", "x"), x=each("numbers"))
    planned = plan(graph({"numbers": node, "inner": inner}, "inner", "n"))
    assert planned.codecs[planned.bodies[1].params[0].codec] == {"kind": "pickle"}


def test_a_default_that_is_not_json_takes_its_own_composites() -> None:
    dag = DAG(
        {"f": lister(numbers, n=Literal(1))}, {}, {"a": ListOf((out("f"),))}, options=DagOptions(serializer=AsColour())
    )
    assert kinds(dag) == {"a": "object"}
