"""A branch is a nested DAG that runs only if the value of one of its inputs is true, or only if it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagcelery import invoke
from dagcelery.errors import InvalidDag
from dagcelery.model import DAG, Choice, Each, FromNodeOutput, FromParam, FromReturnValue, Literal, Source, Task

VALUE = "return_value"


def double(x: int) -> int:
    return 2 * x


def listed(x: int) -> list[int]:
    return [x]


def task(func: Callable[..., Any] = double, *, split: bool = False, **inputs: Source) -> Task:
    return Task(func, inputs, {VALUE: FromReturnValue(is_partitioned=split)})


def branch(only_if: Any, **inputs: Source) -> DAG:
    """The double of x, if a condition holds."""
    inputs = {"x": FromParam("x"), "flag": FromParam("flag"), **inputs}
    return DAG({"double": task(x=FromParam("x"))}, inputs, {VALUE: FromNodeOutput("double", VALUE)}, only_if=only_if)


def around(**nodes: Any) -> DAG:
    outputs = {"branch": FromNodeOutput("branch", VALUE)} if "branch" in nodes else {}
    return DAG(nodes, {"x": FromParam(), "flag": FromParam()}, outputs)


@pytest.mark.parametrize(
    ("flag", "wanted", "expected"), [(1, True, 6), (0, True, None), (1, False, None), ("", False, 6)]
)
def test_outputs_of_a_branch_that_is_not_taken_are_none(flag: Any, wanted: bool, expected: Any) -> None:
    assert invoke(around(branch=branch(("flag", wanted))), {"x": 3, "flag": flag}) == {"branch": expected}


@pytest.mark.parametrize(("flag", "expected"), [(True, 6), (False, -1)])
def test_a_choice_is_one_of_two_values(flag: bool, expected: int) -> None:
    nodes = {"then": branch(("flag", True)), "behind": task(x=FromParam("x"))}
    chosen = Choice(FromParam("flag"), FromNodeOutput("then", VALUE), Literal(-1))
    dag = DAG(nodes, {"x": FromParam(), "flag": FromParam()}, {"chosen": chosen})
    assert invoke(dag, {"x": 3, "flag": flag}) == {"chosen": expected}


def test_a_choice_may_be_an_input_and_read_the_branches_of_another_condition() -> None:
    nodes = {
        "then": branch(("flag", True)),
        "last": task(x=Choice(FromParam("x"), FromNodeOutput("then", VALUE), Literal(1))),
    }
    dag = DAG(nodes, {"x": FromParam(), "flag": FromParam()}, {"last": FromNodeOutput("last", VALUE)})
    assert [invoke(dag, {"x": x, "flag": True}) for x in (3, 0)] == [{"last": 12}, {"last": 2}]


@pytest.mark.parametrize("bad", ["flag", ("flag",), ("flag", 1), ("flag", "true"), ["flag", True]])
def test_a_condition_is_the_name_of_an_input_and_a_truth(bad: Any) -> None:
    with pytest.raises(InvalidDag, match="is not a condition; give the name of an input, and True or False"):
        branch(bad)


def test_a_condition_names_an_input() -> None:
    with pytest.raises(InvalidDag, match=r"only_if=\('flap', True\): names none of its inputs; did you mean 'flag'"):
        branch(("flap", True))


def test_a_branch_does_not_run_once_per_item() -> None:
    items = Each(FromNodeOutput("listed", VALUE))
    with pytest.raises(
        InvalidDag, match="node 'branch': runs only if a condition holds, and once per item; put it into a nested"
    ):
        around(listed=task(listed, split=True, x=FromParam("x")), branch=branch(("flag", True), flag=items))


def test_a_choice_is_made_by_a_value_that_a_run_makes() -> None:
    chosen = Choice(Literal(True), Literal(1), Literal(2))  # type: ignore[arg-type]
    with pytest.raises(InvalidDag, match=r"condition=.* of a Choice: is not a value that a run makes"):
        around(double=task(x=chosen))
