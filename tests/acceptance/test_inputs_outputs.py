"""Rows 18 to 30: inputs, outputs and parameters."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dagcelery import (
    DAG,
    FromKey,
    FromNodeOutput,
    FromParam,
    FromProperty,
    FromReturnValue,
    Task,
    dag,
    errors,
    invoke,
    task,
)
from dagcelery.compat.dagger import dsl
from dagcelery.compat.dagger.runtime import local
from dagcelery.frontends.yaml import load

from .vocabulary import add, count, double, echo, identity, map_reduce, numbers


def test_row_018_parameter_that_is_renamed() -> None:
    node = Task(identity, {"x": FromParam("what")}, {"out": FromReturnValue()})
    assert invoke(DAG({"a": node}, {"what": FromParam()}, {"out": FromNodeOutput("a", "out")}), {"what": 1}) == {
        "out": 1
    }


def test_row_019_input_from_another_node() -> None:
    assert invoke(dag(lambda x: double(double(x))), {"x": 1}) == 4
    out = {"out": FromReturnValue()}
    nodes = {"a": Task(identity, {"x": FromParam()}, out), "b": Task(identity, {"x": FromNodeOutput("a", "out")}, out)}
    assert invoke(DAG(nodes, {"x": FromParam()}, {"y": FromNodeOutput("b", "out")}), {"x": 1}) == {"y": 1}


def test_row_020_default_values_of_tasks_dags_and_nested_dags() -> None:
    @task
    def scaled(x: int, factor: int = 10) -> int:
        return x * factor

    @dag
    def inner(x: int, more: int = 1) -> int:
        return add(scaled(x), more)

    @dag
    def outer(x: int = 2) -> list[int]:
        return [inner(x), inner(x, more=5)]

    assert invoke(outer) == [21, 25]
    declared = Task(identity, {"x": FromParam(default_value=3)}, {"out": FromReturnValue()})
    assert invoke(declared) == {"out": 3}


def test_row_021_hardcoded_literals() -> None:
    assert invoke(dag(lambda: add(1, b=2))) == 3


@pytest.mark.parametrize("value", [0, False, None, "", []])
def test_row_022_defaults_are_overridden_with_falsy_values(value: object) -> None:
    @dag
    def body(x: Any = 7) -> Any:
        return echo(x)

    assert invoke(body, {"x": value}) == value
    assert invoke(body) == 7


def test_row_023_whole_return_value() -> None:
    assert invoke(dag(lambda: numbers(3))) == [0, 1, 2]
    assert invoke(Task(identity, {"x": FromParam()}, {"all": FromReturnValue()}), {"x": (1, 2)}) == {"all": [1, 2]}


@task
def described() -> Any:
    return {"a": {"b": [1]}, "z": complex(2, 3)}


def test_row_024_key_or_property_of_an_output() -> None:
    @dag
    def body() -> list[Any]:
        out = described()
        return [out["a"]["b"][0], out["z"].imag]

    assert invoke(body) == [1, 3.0]
    declared = Task(described.fn, {}, {"a": FromKey("a")})
    assert invoke(declared) == {"a": {"b": [1]}}
    assert invoke(Task(complex, {}, {"imag": FromProperty("imag")})) == {"imag": 0.0}


def test_row_025_several_outputs_by_position() -> None:
    @task
    def both() -> tuple[int, int]:
        return 1, 2

    @dag
    def body() -> int:
        x1, x2 = both()
        return add(x1, double(x2))

    assert invoke(body) == 5


def test_row_026_no_output() -> None:
    @task
    def quiet() -> None: ...

    assert invoke(quiet) is None
    assert invoke(DAG({"quiet": Task(quiet.fn)})) is None
    step = {"name": "quiet", "module": "gc", "function": "collect", "dependencies": None, "return": None}
    (workflow,) = load({"project": "p", "workflows": [{"name": "w", "steps": [step]}]})
    assert invoke(workflow) == {}


def test_row_027_several_outputs_of_a_dag() -> None:
    body = dsl.DAG(lambda x: {"a": double(x), "b": echo(x)})
    assert invoke(body, {"x": 1}) == {"a": 2, "b": 1}
    assert local.invoke(dsl.build(body), {"x": 1}) == {"key_a": 2, "key_b": 1}


def test_row_028_keyword_arguments_without_and_with_names() -> None:
    @task
    def gathered(*, first: int, **rest: int) -> list[Any]:
        return [first, sorted(rest.items())]

    assert invoke(dag(lambda x: gathered(first=x, a=1, b=double(x))), {"x": 1}) == [1, [["a", 1], ["b", 2]]]


@pytest.mark.parametrize(
    "wrapped",
    [lambda d: [d, 1], lambda d: (d, [d]), lambda d: {"k": d, "l": {"m": (d,)}}],
    ids=["list", "tuple", "dict"],
)
def test_row_029_outputs_nested_in_containers(wrapped: Any) -> None:
    assert invoke(dag(lambda x: echo(wrapped(double(x)))), {"x": 1}) == json.loads(json.dumps(wrapped(2)))


def test_row_029_outputs_nested_in_sets() -> None:
    assert invoke(dag(lambda x: count({double(x), x, 1})), {"x": 2}) == 3


def test_row_030_superfluous_parameters() -> None:
    with pytest.raises(errors.InvalidParameters, match=r"'nn'.*did you mean 'n'"):
        invoke(map_reduce, {"n": 1, "nn": 2})
    with pytest.warns(UserWarning, match="ignored"):
        assert local.invoke(dsl.build(map_reduce), {"n": 3, "nn": 2}) == {"return_value": 6}
