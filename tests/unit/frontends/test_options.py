"""Options: where a task runs, in which bytes its values travel, and which values are known at build."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Annotated, Any, BinaryIO

import pytest

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional import TaskFunction, build, dag, task
from dagcelery.model import (
    DagOptions,
    FromKey,
    FromParam,
    FromReturnValue,
    Retry,
    Serialize,
    TaskOptions,
    Timeout,
)
from dagcelery.model.options import DagKeywords, TaskKeywords, TaskUse

from .vocabulary import add, numbers, same, seven, square


class AsParquet:
    extension = "parquet"

    def serialize(self, value: Any, writer: BinaryIO) -> None: ...

    def deserialize(self, reader: BinaryIO) -> Any: ...


PARQUET, OTHER = AsParquet(), AsParquet()


@task
def load(path: str) -> Annotated[dict[str, int], PARQUET]:
    return {}


@task
def train(frame: Annotated[dict[str, int], PARQUET]) -> int:
    return 1


@task(serializer=Serialize(training=PARQUET))
def split(path: str) -> dict[str, Any]:
    return {}


def test_a_taint_a_queue_and_a_name_are_said_where_the_task_is() -> None:
    @task(taint="gpu", name="fit")
    def fit_model(x: int) -> int:
        return x

    @dag
    def d(x: int) -> int:
        return fit_model(x)

    assert build(d).nodes["fit"].options == TaskOptions(taints=("gpu",), name="fit")


def test_options_for_one_use_leave_the_task_as_it_is() -> None:
    @dag
    def d(x: int) -> int:
        return add(square.options(queue="big", name="cube")(x), square(x))

    nodes = build(d).nodes
    assert nodes["cube"].options == TaskOptions(queue="big")
    assert nodes["square"].options == TaskOptions()


def test_another_queue_for_one_use_takes_the_place_of_a_taint() -> None:
    tainted = task(taint="gpu")(lambda: 1)
    assert tainted.options(queue="cpu")._options == TaskOptions(queue="cpu")


def test_a_parameter_that_is_only_iterated_is_lazy() -> None:
    @task
    def reduce(xs: Iterable[int], ys: Sequence[int], zs: list[int], rest: Any = None) -> int:
        return 1

    @dag
    def d(n: int) -> int:
        return reduce(numbers(n), numbers(n), numbers(n), n)

    assert build(d).nodes["reduce"].options == TaskOptions(lazy=frozenset({"xs", "ys"}))


def test_an_annotated_return_names_the_serializer() -> None:
    @dag
    def d(path: str) -> Any:
        return load(path)

    assert build(d).nodes["load"].outputs == {"return_value": FromReturnValue(PARQUET)}


def test_each_key_has_the_serializer_named_for_it() -> None:
    @dag
    def d(path: str) -> Any:
        return split(path)["training"], split(path)["other"]

    nodes = build(d).nodes
    assert nodes["split"].outputs == {"key_training": FromKey("training", PARQUET)}
    assert nodes["split-2"].outputs == {"key_other": FromKey("other")}


def test_a_dag_parameter_names_its_serializer() -> None:
    @dag
    def d(frame: Annotated[dict[str, int], PARQUET]) -> Any:
        return same(frame)

    assert build(d).inputs == {"frame": FromParam(serializer=PARQUET)}


def test_an_annotated_parameter_decides_where_the_writer_says_nothing() -> None:
    @dag
    def d(frame: Any) -> Any:
        return train(frame), train(same(frame)), [train(f) for f in [same(x) for x in frame["all"]]]

    built = build(d)
    assert built.inputs["frame"] == FromParam(serializer=PARQUET)
    assert built.nodes["same"].outputs == {"return_value": FromReturnValue(PARQUET)}


def test_a_dag_has_a_serializer_for_all_its_values() -> None:
    assert dag(serializer=PARQUET)(lambda: seven()).__dag__().options.serializer is PARQUET


@dag(static=("folds",))
def cross_validated(x: int, folds: int = 2) -> Any:
    return [add(x, k) for k in range(folds)]


def test_static_parameters_have_their_values_while_the_dag_is_built() -> None:
    assert list(build(cross_validated, folds=3).nodes) == ["add", "add-2", "add-3"]
    assert list(build(cross_validated).inputs) == ["x"]
    assert cross_validated.invoke(1, folds=3) == cross_validated(1, folds=3) == [1, 2, 3]


def test_a_deadline_belongs_to_the_dag_that_is_submitted() -> None:
    hurried = cross_validated.options(deadline=60)
    options = build(hurried).options
    assert options.deadline == 60
    assert build(cross_validated).options.deadline is None


def notify(*args: object) -> None: ...


OPTIONS: dict[str, Any] = {
    "retry": Retry(5, 1.0, on=OSError),
    "timeout": Timeout(soft=50, hard=60),
    "start_within": 600,
    "min_success": 0.9,
    "max_concurrent": 8,
    "on_success": notify,
    "on_failure": notify,
    "on_retry": notify,
}
FETCH = TaskOptions(**OPTIONS)


@task(**OPTIONS)
def fetch(url: str) -> str:
    return url


def mapped(called: TaskFunction[[str], str]) -> Any:
    @dag
    def d(urls: list[str]) -> list[str]:
        return [called(url) for url in urls]

    return build(d).nodes["fetch"]


def test_a_task_says_what_becomes_of_failures_delays_and_items() -> None:
    @dag
    def d(urls: list[str]) -> list[str]:
        return [fetch(url) for url in urls]

    assert build(d).nodes["fetch"].options == FETCH
    assert build(fetch).nodes["fetch"].options == replace(FETCH, min_success=None), "by itself it has no items"
    assert d.invoke(["a", "b"]) == ["a", "b"]


def test_options_for_one_use_take_the_place_of_those_that_they_name() -> None:
    once = fetch.options(timeout=5, retry=Retry(1), max_concurrent=1, on_retry=print)
    options = mapped(once).options
    assert (options.retry, options.timeout, options.max_concurrent) == (Retry(1), Timeout(hard=5), 1)
    assert (options.on_retry, options.on_failure) == (print, notify)
    assert (options.start_within, options.min_success) == (600, 0.9)
    assert mapped(fetch).options == FETCH


def test_to_skip_for_one_use_takes_the_place_of_a_share_and_the_other_way_round() -> None:
    skipping = fetch.options(on_item_failure="skip")
    found = [mapped(each).options for each in (skipping, skipping.options(min_success=0.5))]
    assert [(options.on_item_failure, options.min_success) for options in found] == [("skip", None), ("fail", 0.5)]


@pytest.mark.parametrize("aliases", ["no colon", "shop:", ":fetch", 3])
def test_a_former_name_is_a_module_and_a_name(aliases: Any) -> None:
    with pytest.raises(InvalidDag, match="aliases"):
        task(aliases=aliases)(fetch.fn)


def test_a_dag_says_what_holds_for_its_runs() -> None:
    @dag(fail_fast=False, max_active_runs=1, on_success=notify, on_failure=notify, keep="outputs")
    def d(x: int) -> int:
        return square(x)

    said = DagOptions(fail_fast=False, max_active_runs=1, on_success=notify, on_failure=notify, keep="outputs")
    assert build(d).options == said
    assert build(d.options(fail_fast=True, keep="all")).options == DagOptions(
        max_active_runs=1, on_success=notify, on_failure=notify
    )
    assert build(d).options == said


def test_a_dag_that_is_given_no_other_options_is_not_built_again() -> None:
    assert build(cross_validated.options(key="order-42")) is build(cross_validated)


@pytest.mark.parametrize(
    ("misspelt", "nearest"),
    [
        (lambda: task(tain="gpu"), "'tain' of @task.*did you mean 'taint'"),
        (lambda: dag(keeps="outputs"), "'keeps' of @dag.*did you mean 'keep'"),
        (lambda: fetch.options(retries=3), r"'retries' of fetch.options\(\).*'retry'"),
        (lambda: cross_validated.options(timeout=5), r"'timeout' of cross_validated.options\(\).*there are"),
    ],
)
def test_an_option_that_does_not_exist_is_refused_with_the_nearest(misspelt: Any, nearest: str) -> None:
    with pytest.raises(InvalidDag, match=nearest) as refused:
        misspelt()
    assert isinstance(refused.value, TypeError)


@pytest.mark.parametrize("function", [task, dag, fetch.options, cross_validated.options])
def test_help_lists_the_options_one_by_one(function: Any) -> None:
    parameters = inspect.signature(function).parameters
    assert all(each.kind is not each.VAR_KEYWORD for each in parameters.values())
    assert (parameters["name"].default, parameters["name"].annotation) == (None, "str | None")
    if function is task:
        assert (parameters["taint"].default, parameters["on_item_failure"].default) == ((), "fail")


def test_an_option_that_is_none_is_as_it_was_before() -> None:
    assert task(timeout=None, on_item_failure=None)(fetch.fn)._options == TaskOptions()
    assert fetch.options(retry=None, min_success=None)._options == FETCH


def test_every_option_of_the_model_has_a_keyword() -> None:
    of_tasks = {each.name for each in fields(TaskOptions)} - {"lazy", "driver"}  # follow from annotations, `dynamic`
    assert of_tasks - {"taints"} <= {*TaskKeywords.__optional_keys__} - {"taint"}
    assert {each.name for each in fields(DagOptions)} <= DagKeywords.__optional_keys__
    assert TaskUse.__optional_keys__ < TaskKeywords.__optional_keys__
