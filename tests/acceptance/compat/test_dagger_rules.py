"""`dagcelery.compat.dagger` keeps py-dagger's rules, those that fell elsewhere too; numbers are those of its table."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import pytest

from dagcelery.compat.dagger import DAG, AsPickle, FromKey, FromNodeOutput, FromParam, FromReturnValue, Task, dsl
from dagcelery.compat.dagger import input as inputs
from dagcelery.compat.dagger import output as outputs
from dagcelery.compat.dagger.dag import CyclicDependencyError
from dagcelery.compat.dagger.runtime.local import invoke


def one(x: Any = None) -> Any:
    return x


def made(split: bool = False, **inputs: Any) -> Task:
    return Task(one, inputs, {"out": FromReturnValue(is_partitioned=split)})


def read(node: str = "a", output: str = "out") -> FromNodeOutput:
    return FromNodeOutput(node, output)


def mapped(source: Any) -> Task:
    return Task(one, {"x": source}, {"out": FromReturnValue()}, partition_by_input="x")


def nested(source: Any) -> DAG:
    return DAG({"one": made()}, {"x": source}, {"out": read("one")}, partition_by_input="x")


@dsl.task
def f(x: Any) -> Any:
    return x


@dsl.task
def g(x: Any, y: Any = 1) -> Any:
    return [x, y]


def built(body: Callable[..., object]) -> Any:
    return dsl.build(dsl.DAG(body))


RULES: dict[str, tuple[type[Exception], str, Callable[[], object]]] = {
    "1": (ValueError, "^A DAG needs to contain at least one node", lambda: built(lambda: None)),
    "2": (ValueError, "'a_b' is not a valid name for a node.*must comply with the regex", lambda: DAG({"a_b": made()})),
    "3": (ValueError, "'_x' is not a valid name for an input", lambda: Task(lambda **k: 1, {"_x": FromParam()})),
    "4": (TypeError, r"is of type 'int'. However, nodes only support .*\['FromParam'", lambda: made(x=1)),
    "5": (
        TypeError,
        r"is of type 'str'. However, nodes only support .*\['FromReturnValue'",
        lambda: Task(one, {}, {"a": "b"}),  # type: ignore[dict-item]
    ),
    "8": (ValueError, "partitioned by input 'x', which comes from a parameter", lambda: mapped(FromParam())),
    "11": (
        ValueError,
        "Output 'o' comes from an output of node 'b'. Node 'b' is partitioned",
        lambda: DAG({"a": made(split=True), "b": mapped(read())}, {}, {"o": read("b")}),
    ),
    "12": (
        ValueError,
        "Multiple DAG outputs depend on the same node output",
        lambda: DAG({"a": made()}, {}, {"o": read(), "p": read()}),
    ),
    "14": (
        ValueError,
        "input 'x' of node 'b': This input is serialized AsJSON.*references is serialized AsPickle",
        lambda: DAG({"a": Task(one, {}, {"out": FromReturnValue(AsPickle())}), "b": made(x=read())}),
    ),
    "14 of a parameter": (
        ValueError,
        "This input is serialized AsPickle.*references is serialized AsJSON",
        lambda: DAG({"a": made(x=FromParam(serializer=AsPickle()))}, {"x": FromParam()}),
    ),
    "15": (
        ValueError,
        "Node 'b' is partitioned by its input 'x'.*does not come from the output of another node",
        lambda: DAG({"b": nested(FromParam())}, {"x": FromParam()}),
    ),
    "16": (
        ValueError,
        "Node 'c' is partitioned by an input that comes from .* 'b'. Node 'b' is also partitioned",
        lambda: DAG({"a": made(split=True), "b": mapped(read()), "c": mapped(read("b"))}),
    ),
    "17": (ValueError, "is not partitioned", lambda: DAG({"a": made(), "b": mapped(read())})),
    "17 of a nested DAG": (
        ValueError,
        "Node 'b' is partitioned.*output 'out' of node 'a'. However, this output is not partitioned",
        lambda: DAG({"a": DAG({"one": made()}, {}, {"out": read("one")}), "b": mapped(read())}),
    ),
    "18": (
        CyclicDependencyError,
        "cyclic dependency between the following nodes: {'a'}",
        lambda: DAG({"a": made(x=read("a"))}),
    ),
    "19": (TypeError, "You may not mutate the inputs of a task", lambda: operator.setitem(made().inputs, "x", 1)),  # type: ignore[call-overload]
    "20": (
        ValueError,
        "parameters that can be injected via keyword",
        lambda: dsl.task(lambda *args: args),
    ),
    "21": (TypeError, "You have invoked the task 'f' with the following arguments", lambda: built(lambda: f(z=1))),
    "22": (ValueError, "Argument 'x' of type 'list' is invalid", lambda: built(lambda: f([1, f(2)]))),
    "23": (
        ValueError,
        r"The following inputs to this node are partitioned: \['x', 'y'\]",
        lambda: built(lambda: f([g(x, x) for x in f(1)])),
    ),
    "23 of two loops": (
        ValueError,
        r"The following inputs to this node are partitioned: \['x', 'y'\]",
        lambda: built(lambda: f([[g(x, y) for x in f(1)] for y in f(2)])),
    ),
    "24": (ValueError, "Iterating over the value of a parameter is not", lambda: built(lambda p: f([f(x) for x in p]))),
    "25": (
        ValueError,
        "may not iterate over one",
        lambda: built(lambda: f([[f(y) for y in x] for x in f(1)])),
    ),
    "26": (ValueError, "__len_hint__", lambda: built(lambda: f(f(1).__len_hint__))),
    "27": (TypeError, "This DAG returned a value of type int", lambda: built(lambda: (f(1), 5)[1])),
    "27 within a mapping": (TypeError, "a value of type str", lambda: built(lambda: {"a": f(1), "b": "c"})),
    "28": (ValueError, r"We are missing: \['x'\]", lambda: invoke(made(x=FromParam()))),
    "29": (TypeError, "serialize the results of this task", lambda: invoke(Task(one, {}, {"a": FromKey("a")}))),
    "31": (TypeError, "was not an iterable", lambda: invoke(built(lambda: f([f(x) for x in f(3)])))),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_told(rule: str) -> None:
    kind, told, breach = RULES[rule]
    with pytest.raises(kind, match=told):
        breach()


@pytest.mark.parametrize(
    ("rule", "culprit"),
    [
        ("8", "task 'one'"),
        ("12", "outputs 'o' and 'p', which are both output 'out' of node 'a'"),
        ("20", "<lambda>"),
        ("22", "the call of 'f'"),
        ("23", "the call of 'g'"),
        ("23 of two loops", "the call of 'g'"),
        ("25", "the call of 'f'"),
        ("27", "DAG '.*:<lambda>"),
    ],
)
def test_a_text_that_does_not_tell_what_it_is_about_has_a_note_that_does(rule: str, culprit: str) -> None:
    kind, _, breach = RULES[rule]
    with pytest.raises(kind) as broken:
        breach()
    assert any(re.search(f"It is about .*{culprit}", note) for note in broken.value.__notes__)


def test_a_default_spares_an_input_the_parameter_of_the_dag_around() -> None:
    assert invoke(DAG({"a": made(x=FromParam(default_value=3))}, {}, {"o": read()})) == {"o": 3}


@pytest.mark.parametrize("check", [inputs.validate_name, outputs.validate_name])
def test_names_may_be_checked_alone(check: Callable[[str], None]) -> None:
    check("a_b-3")
    with pytest.raises(ValueError, match=r"'a\.b' is not a valid name"):
        check("a.b")
