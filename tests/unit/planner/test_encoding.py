"""A plan survives its bytes, and only what may be pickled is pickled, when it is encoded."""

from __future__ import annotations

import base64
import dataclasses
import gc
import os
import pickle
import subprocess
import sys
import threading
from enum import Enum

import pytest

from dagcelery.errors import DeserializationError, NotConfigured, PlanVersionUnsupported, SerializationError
from dagcelery.model import (
    DAG,
    DagOptions,
    DictOf,
    FromParam,
    ListOf,
    Literal,
    Part,
    SetOf,
    Splice,
    TaskOptions,
    TupleOf,
)
from dagcelery.payload.codecs import AsPickle
from dagcelery.planner import encoding
from dagcelery.planner.compile import plan
from dagcelery.planner.encoding import decode_plan, encode_plan
from dagcelery.planner.plan import VERSION, literal

from .graphs import VALUE, each, graph, lister, map_reduce, nothing, numbers, out, placed, square, task


class Colour(Enum):
    RED = 1


def everything() -> DAG:
    """A DAG with one of each kind of expression, step and option."""
    parts = (
        ("list", ListOf((Literal(1), Splice(each("numbers"), out("numbers")), FromParam("n")))),
        (2, TupleOf((Literal(None), SetOf((Literal("a"),))))),
        ("part", Part(out("numbers"), (("key", 0), ("property", "real")))),
    )
    return graph(
        {
            "numbers": lister(numbers, n=FromParam()),
            "dict": task(print, TaskOptions(taints=("gpu",), lazy=frozenset({"sep"})), sep=DictOf(parts)),
            "inner": placed(map_reduce(), n=each("numbers"), after=["dict"]),
            "late": task(nothing, after=["inner"]),
        },
        "inner",
        "n",
        returns=ListOf((out("inner"), FromParam("n"))),
    )


def lonely(value: object) -> DAG:
    return graph({"f": task(square, x=Literal(value))}, "f")


def test_a_decoded_plan_equals_the_plan() -> None:
    planned = plan(everything())
    assert decode_plan(encode_plan(planned)) == planned


def test_arguments_are_read_when_they_are_asked_for() -> None:
    outline, *_ = encode_plan(plan(map_reduce())).splitlines()
    decoded = decode_plan(outline + b"\n{")
    assert [step.kind for step in decoded.bodies[0].steps] == ["task"] * 3
    with pytest.raises(DeserializationError, match="was not written by dagcelery"):
        _ = decoded.bodies[0].steps[0].arguments


def test_a_default_of_a_parameter_survives() -> None:
    dag = DAG({"f": task(square, x=FromParam())}, {"x": FromParam(default_value=(1, None))}, {VALUE: out("f")})
    planned = plan(dag)
    assert decode_plan(encode_plan(planned)).bodies[0].params == planned.bodies[0].params


def test_the_digest_of_equal_plans_is_equal() -> None:
    assert encode_plan(plan(everything())) == encode_plan(plan(everything()))
    assert encode_plan(plan(everything())) != encode_plan(plan(map_reduce()))


def test_the_digest_is_the_same_in_every_process() -> None:
    program = f"from {__name__} import encode_plan, everything, plan; print(encode_plan(plan(everything())).decode())"
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == encode_plan(plan(everything())).decode()


def test_a_plan_of_another_version_is_refused() -> None:
    planned = dataclasses.replace(plan(map_reduce()), version=VERSION + 1)
    with pytest.raises(PlanVersionUnsupported):
        decode_plan(encode_plan(planned))


def test_a_function_that_nobody_can_import_travels_by_value() -> None:
    planned = plan(graph({"f": task(lambda x: x + 1, x=Literal(1))}, "f"))
    assert planned.functions[0].blob is None
    blob = decode_plan(encode_plan(planned)).functions[0].blob
    assert blob is not None
    assert pickle.loads(blob)(1) == 2


def test_each_function_is_described_once() -> None:
    dag = graph({"a": task(square, x=Literal(1)), "b": task(square, x=out("a"))}, "b")
    assert len(plan(dag).functions) == 1


LOCK = threading.Lock()
PICKLED = graph({"f": task(nothing)}, "f", options=DagOptions(serializer=AsPickle()))


@pytest.mark.parametrize(
    ("dag", "message"),
    [
        (graph({"f": task(lambda: 1)}, "f"), r"lambda.*DAGCELERY_SIGNING_KEY"),
        (lonely([Colour.RED]), r"argument 'x' of f.*Colour"),
        (PICKLED, "AsPickle"),
    ],
    ids=["function", "literal", "serializer"],
)
def test_a_plan_that_holds_a_pickle_needs_a_key(dag: DAG, message: str) -> None:
    with pytest.raises(NotConfigured, match=message):
        encode_plan(plan(dag), signed=False)


@pytest.mark.parametrize(
    ("dag", "message"),
    [
        (lonely(LOCK), "a literal of type lock"),
        (graph({"f": task(lambda lock=LOCK: lock)}, "f"), "lambda"),
    ],
    ids=["literal", "function"],
)
def test_what_cannot_be_pickled_is_named(dag: DAG, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        encode_plan(plan(dag))


def test_a_plan_without_pickles_needs_no_key() -> None:
    assert encode_plan(plan(everything()), signed=False) == encode_plan(plan(everything()))


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "é\n", [1, [2]], {"a": {"b": None}}, [], {}])
def test_a_literal_that_json_keeps_stands_as_it_is(value: object) -> None:
    assert literal(value) == ("lit", value)


def test_tuples_sets_and_odd_keys_are_taken_apart() -> None:
    assert literal((1, [2])) == ("tuple", (("lit", 1), ("lit", [2])))
    assert literal({2, 1}) == ("set", (("lit", 1), ("lit", 2)))
    assert literal({1: "a"}) == ("dict", ((("lit", 1), ("lit", "a")),))


@pytest.mark.parametrize("value", [Colour.RED, float("nan"), b"", 1 << 100_000, frozenset(), object()], ids=type)
def test_a_literal_that_json_would_change_stays_an_object_until_it_is_encoded(value: object) -> None:
    assert literal(value) == ("live", value)


def test_an_encoded_object_is_a_pickle() -> None:
    tag, blob = decode_plan(encode_plan(plan(lonely(Colour.RED)))).bodies[0].steps[0].arguments[0][1]
    assert tag == "blob"
    assert pickle.loads(base64.b64decode(blob)) is Colour.RED


def test_a_plan_is_decoded_without_the_collector_which_then_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    collector_runs = list[bool]()

    def observed(told: object) -> object:
        collector_runs.append(gc.isenabled())
        return decode(told)

    decode = encoding._plan
    planned = plan(map_reduce())
    monkeypatch.setattr(encoding, "_plan", observed)
    assert decode_plan(encode_plan(planned)) == planned
    assert collector_runs == [False]
    assert gc.isenabled()
