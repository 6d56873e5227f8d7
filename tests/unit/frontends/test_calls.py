"""What a call does depends on where it is made, and decorating a function takes nothing from it."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import pytest

from dagcelery.errors import InvalidParameters
from dagcelery.frontends.functional import build, dag, task
from dagcelery.model import FromParam, Literal

from . import vocabulary
from .vocabulary import add, numbers, seven, square, total


@dag
def pipeline(n: int, extra: int = 1) -> int:
    return add(total([square(x) for x in numbers(n)]), extra)


class Model:
    """Tasks and DAGs may be methods."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @task
    def scaled(self, x: int) -> int:
        return self.factor * x

    @dag
    def twice(self, x: int) -> int:
        return self.scaled(self.scaled(x))

    @staticmethod
    @task
    def plain(x: int) -> int:
        return x


def test_a_task_that_calls_a_task_calls_its_function() -> None:
    @task
    def both(x: int) -> int:
        return square(x) + square(x)

    @dag
    def d(x: int) -> int:
        return both(x)

    assert (list(build(d).nodes), d.invoke(3)) == (["both"], 18)


def test_methods_are_tasks_and_dags_with_their_object() -> None:
    model = Model(3)
    assert (model.scaled(2), Model.scaled(model, 2), model.twice(2), Model.plain(2)) == (6, 6, 18, 2)
    assert build(model.twice).nodes["scaled"].inputs == {"self": Literal(model), "x": FromParam("x")}
    assert (model.twice.invoke(2), model.scaled.invoke(2)) == (18, 6)


def test_a_changed_object_builds_a_changed_dag() -> None:
    class Sized:
        size = 2

        @dag
        def d(self) -> Any:
            return [seven() for _ in range(self.size)]

    sized = Sized()
    before = len(build(sized.d).nodes)
    sized.size = 3
    assert (before, len(build(sized.d).nodes)) == (2, 3)


def test_a_task_is_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(vocabulary.square)) is vocabulary.square
    assert b"x * x" not in pickle.dumps(square)


def test_a_task_with_other_options_is_pickled_with_them() -> None:
    other = pickle.loads(pickle.dumps(square.options(queue="big")))
    assert other._options.queue == "big"
    assert other(3) == 9


def test_a_local_task_is_pickled_by_value_where_cloudpickle_does_it() -> None:
    factor = 3

    @task
    def local(x: int) -> int:
        return factor * x

    assert cloudpickle.loads(cloudpickle.dumps(local))(2) == 6


def test_an_unknown_parameter_is_named_with_the_nearest_one() -> None:
    with pytest.raises(InvalidParameters, match=r"none is called 'extras'.*'extra'"):
        pipeline.invoke(4, extras=2)  # type: ignore[call-arg]


def test_a_single_task_is_a_dag_of_its_own() -> None:
    alone = build(add)
    assert alone.inputs == {"a": FromParam(), "b": FromParam(default_value=10)}
    assert build(add) is alone
    assert add.invoke(1) == 11
