"""1. A task is a function that can become a node of a DAG, and stays the function it was."""

from __future__ import annotations

import posixpath

import pytest

from dagcelery import AsPickle, TaskFunction, invoke, task
from dagcelery.errors import InvalidParameters, NodeFailed


@task
def power(x: int, exponent: int = 2) -> int:
    """Raise x to a power."""
    return int(x**exponent)


def test_a_task_is_called_like_its_function() -> None:
    assert power(3) == 9
    assert power(2, exponent=10) == 1024


def test_it_keeps_the_name_the_docstring_and_the_signature() -> None:
    assert power.__name__ == "power"
    assert power.__doc__ == "Raise x to a power."
    assert isinstance(power, TaskFunction)


def test_options_stand_in_parentheses() -> None:
    @task(name="cube", taint="gpu", serializer=AsPickle())
    def third_power(x: int) -> int:
        return x**3

    assert third_power(3) == 27


def test_empty_parentheses_mean_the_same_as_none() -> None:
    @task()
    def square(x: int) -> int:
        return x * x

    assert square(3) == 9


def test_a_task_is_run_alone_with_its_parameters_by_name() -> None:
    assert invoke(power, {"x": 3}) == 9
    assert invoke(power, {"x": 3, "exponent": 3}) == 27


def test_so_it_is_with_parameters_as_in_a_call() -> None:
    assert power.invoke(3, exponent=3) == 27


def test_a_parameter_without_a_default_is_needed() -> None:
    with pytest.raises(InvalidParameters, match="missing"):
        invoke(power, {"exponent": 3})


def test_keyword_only_parameters_and_kwargs_are_parameters_like_others() -> None:
    @task
    def described(*, name: str, **details: object) -> str:
        return f"{name}: {sorted(details.items())}"

    assert described.invoke(name="ann", age=3) == "ann: [('age', 3)]"


def test_an_async_task_is_run_to_its_end() -> None:
    @task
    async def fetch(x: int) -> int:
        return x + 1

    assert invoke(fetch, {"x": 1}) == 2


def test_a_function_of_others_becomes_a_task_by_calling_task() -> None:
    assert invoke(task(posixpath.basename), {"p": "/tmp/a.txt"}) == "a.txt"


def test_what_a_task_raises_comes_back_as_node_failed() -> None:
    with pytest.raises(NodeFailed, match="ZeroDivisionError") as failed:
        invoke(task(lambda x: 1 // x), {"x": 0})
    assert isinstance(failed.value.__cause__, ZeroDivisionError)


def test_methods_can_be_tasks() -> None:
    class Model:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        @task
        def scaled(self, x: int) -> int:
            return self.factor * x

    assert Model(3).scaled(2) == 6
    assert invoke(Model(3).scaled, {"x": 2}) == 6
