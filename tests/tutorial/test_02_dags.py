"""2. A DAG is a function that calls tasks: its calls become nodes, its returned value the result."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery import DAG, DagFunction, build, dag, invoke, task
from dagcelery.errors import InvalidDag


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def double(x: int) -> int:
    return 2 * x


@dag
def formula(x: int, y: int = 1) -> int:
    return add(double(x), b=y)


def test_invoke_runs_a_dag_in_this_process_and_returns_its_value() -> None:
    assert invoke(formula, {"x": 3}) == 7


def test_called_outside_it_is_its_body_in_plain_python() -> None:
    assert formula(3) == invoke(formula, {"x": 3})


def test_defaults_hold_unless_another_value_is_given_even_a_falsy_one() -> None:
    assert formula.invoke(3) == 7
    assert formula.invoke(3, y=0) == 6


def test_build_shows_the_dag_that_the_body_describes() -> None:
    built = build(formula)
    assert isinstance(formula, DagFunction)
    assert isinstance(built, DAG)
    assert list(built.nodes) == ["double", "add"]
    assert built.node_execution_order == [{"double"}, {"add"}]


def test_a_task_that_is_used_again_gets_a_number() -> None:
    @dag
    def twice(x: int) -> int:
        return double(double(x))

    assert list(build(twice).nodes) == ["double", "double-2"]


def test_a_node_can_be_given_its_name() -> None:
    @dag
    def named(x: int) -> int:
        return double.options(name="the_second")(double(x))

    assert list(build(named).nodes) == ["double", "the_second"]


def test_literals_and_outputs_are_mixed_in_any_container() -> None:
    @task
    def show(value: Any) -> str:
        return repr(value)

    @dag
    def mixed(x: int) -> str:
        d = double(x)
        return show({"list": [1, d, [d]], "tuple": (d, "a"), "dict": {"k": d}, "set": {d}})

    assert invoke(mixed, {"x": 2}) == "{'list': [1, 4, [4]], 'tuple': (4, 'a'), 'dict': {'k': 4}, 'set': {4}}"


def test_a_part_of_a_result_is_read_by_key_or_attribute_at_any_depth() -> None:
    @task
    def report(x: int) -> dict[str, Any]:
        return {"total": x, "parts": {"first": [x, x + 1]}, "when": complex(x, 1)}

    @dag
    def parts(x: int) -> list[Any]:
        r = report(x)
        return [r["total"], r["parts"]["first"][1], r["when"].real]

    assert invoke(parts, {"x": 3}) == [3, 4, 3.0]


def test_a_tuple_is_taken_apart_where_its_size_is_annotated() -> None:
    @task
    def divided(a: int, b: int) -> tuple[int, int]:
        return divmod(a, b)

    @dag
    def remainder_first(a: int, b: int) -> list[int]:
        quotient, remainder = divided(a, b)
        return [remainder, quotient]

    assert invoke(remainder_first, {"a": 17, "b": 5}) == [2, 3]


def test_or_where_the_decorator_says_how_many_there_are() -> None:
    @task(outputs=2)
    def halves(text: str) -> Any:
        return text[:2], text[2:]

    @dag
    def swapped(text: str) -> list[str]:
        first, second = halves(text)
        return [second, first]

    assert invoke(swapped, {"text": "abcd"}) == ["cd", "ab"]


def test_a_dag_gives_back_the_shape_that_its_body_returns() -> None:
    @dag
    def shaped(x: int) -> Any:
        d = double(x)
        return {"out": d, "param": x, "both": (d, [x]), "literal": None}

    assert invoke(shaped, {"x": 1}) == {"out": 2, "param": 1, "both": (2, [1]), "literal": None}


def test_a_dag_may_return_nothing() -> None:
    @dag
    def quiet(x: int) -> None:
        double(x)

    assert invoke(quiet, {"x": 1}) is None


def test_after_makes_order_without_passing_a_value() -> None:
    seen: list[str] = []

    @task
    def clean() -> None:
        seen.append("clean")

    @task
    def load() -> int:
        seen.append("load")
        return 1

    @dag
    def ordered() -> int:
        return load.after(clean())()

    assert invoke(ordered) == 1
    assert seen == ["clean", "load"]


def test_an_async_body_awaits_the_outputs_of_tasks() -> None:
    @dag
    async def awaited(x: int) -> int:
        return await task(_later)(await task(_later)(x))

    assert invoke(awaited, {"x": 1}) == 3


async def _later(x: int) -> int:
    return x + 1


def test_a_static_parameter_has_its_value_while_the_dag_is_built() -> None:
    @dag(static=("folds",))
    def folded(x: int, folds: int) -> list[int]:
        return [add(x, fold) for fold in range(folds)]

    assert invoke(build(folded, folds=3), {"x": 1}) == [1, 2, 3]
    assert folded.invoke(1, folds=2) == [1, 2]


def test_plain_helpers_run_while_the_dag_is_built() -> None:
    def both(x: int) -> list[int]:
        return [double(x), add(x, 1)]

    @dag
    def helped(x: int) -> list[int]:
        return both(x)

    assert invoke(helped, {"x": 3}) == [6, 4]


def test_what_has_no_value_yet_refuses_to_be_one_and_says_what_to_do() -> None:
    @dag
    def hasty(x: int) -> int:
        return double(x) if double(x) > 3 else x

    with pytest.raises(InvalidDag, match=r"'double'.*decide in a task"):
        build(hasty)
