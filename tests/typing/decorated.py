"""Decorated functions keep their types: this file is read by type checkers, never run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, assert_type

from dagcelery.client import Run, submit
from dagcelery.frontends.functional import DagFunction, TaskFunction, build, dag, task
from dagcelery.model import DAG, Buildable, FromNodeOutput, FromParam, Serialize, Source

if TYPE_CHECKING:
    T = TypeVar("T")


@task
def power(x: int, exponent: int = 2) -> float:
    return float(x**exponent)


@task(taint="gpu", outputs=2, serializer=Serialize())
def split(x: int) -> tuple[int, str]:
    return x, str(x)


@task
async def fetch(url: str) -> bytes:
    return url.encode()


@task
def first(xs: Sequence[T]) -> T:
    return xs[0]


@task
def total(xs: Iterable[float]) -> float:
    return sum(xs)


@dag
def pipeline(xs: list[int], exponent: int = 2) -> float:
    a, b = split(xs[0])
    assert_type(a, int)
    assert_type(b, str)
    return total([power(x, exponent) for x in xs])


@dag(static=("folds",), name="cv")
def folded(x: int, folds: int = 3) -> list[float]:
    return [power(x, fold) for fold in range(folds)]


@dag
async def crawl(urls: list[str]) -> list[bytes]:
    return [await fetch(url) for url in urls]


class Model(Generic[T]):
    @task
    def fit(self, rows: list[int]) -> str:
        return ""

    @dag
    def train(self, rows: list[int]) -> str:
        return self.fit(rows)

    @staticmethod
    @task
    def clean(rows: list[int]) -> list[int]:
        return rows


def a_call_has_the_type_of_the_function() -> None:
    assert_type(power(2), float)
    assert_type(power(x=2, exponent=3), float)
    assert_type(pipeline([1]), float)
    power("2")  # type: ignore[arg-type]
    power(2, exponents=3)  # type: ignore[call-arg]


def a_run_has_the_type_of_the_result() -> None:
    assert_type(power.submit(2), Run[float])
    assert_type(pipeline.submit([1], exponent=2), Run[float])
    assert_type(pipeline.submit([1]).result(timeout=1), float)
    assert_type(submit(pipeline, {"xs": [1]}).id, str)
    assert_type(pipeline.invoke([1]), float)
    pipeline.submit(["1"])  # type: ignore[list-item]


def coroutines_are_unwrapped() -> None:
    assert_type(fetch.submit("u"), Run[bytes])
    assert_type(crawl.submit(["u"]), Run[list[bytes]])
    assert_type(crawl.invoke(["u"]), list[bytes])


async def asynchronous_submission_alike() -> None:
    assert_type(await fetch("u"), bytes)
    assert_type(await pipeline.asubmit([1]), Run[float])
    assert_type(await crawl.asubmit(["u"]), Run[list[bytes]])


def order_and_options_change_no_type() -> None:
    assert_type(power.after(1, [2])(2), float)
    assert_type(power.options(name="cube", queue="big")(2, 3), float)
    assert_type(split.options(taint=("gpu", "large"))(2), tuple[int, str])
    assert_type(pipeline.options(key="k", deadline=60).submit([1]), Run[float])


def generic_tasks_stay_generic() -> None:
    assert_type(first([1, 2]), int)
    assert_type(first(["a"]), str)


def methods_lose_their_self(model: Model[int]) -> None:
    assert_type(model.fit([1]), str)
    assert_type(model.train([1]), str)
    assert_type(model.train.submit([1]), Run[str])
    assert_type(Model.clean([1]), list[int])
    model.fit("rows")  # type: ignore[arg-type]


def definitions_are_buildable() -> None:
    both: list[Buildable[..., float]] = [power, pipeline]
    assert_type(build(both[0]), DAG)
    assert_type(build(folded, folds=3), DAG)
    task_like: TaskFunction[[int], tuple[int, str]] = split
    dag_like: DagFunction[[list[int], int], float] = pipeline
    assert_type(dag_like([task_like(1)[0]], 2), float)


def sources_are_what_inputs_take(dag: DAG) -> dict[str, Source]:
    return {"a": FromParam(), "b": FromNodeOutput("n", "o"), **dag.inputs}


def what_is_misspelt_is_an_error() -> None:
    task(tain="gpu")(power.fn)  # type: ignore[call-overload]
    power.option(name="x")  # type: ignore[attr-defined]
    build(3)  # type: ignore[arg-type]
