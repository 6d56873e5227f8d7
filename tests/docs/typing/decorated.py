"""Decorated functions keep their types: this file is read by type checkers, never run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, assert_type

import dagcelery
from dagcelery import AsPickle, Skipped, Workflow, invoke, present, register_definition
from dagcelery.client import Run, submit
from dagcelery.frontends.functional import DagFunction, TaskFunction, build, dag, task
from dagcelery.frontends.functional.building import when
from dagcelery.hooks import mail
from dagcelery.model import (
    DAG,
    Buildable,
    Cache,
    FromNodeOutput,
    FromParam,
    Retry,
    Serialize,
    Source,
    Timeout,
    Wait,
    exponential,
    static,
)

if TYPE_CHECKING:
    T = TypeVar("T")


@task
def power(x: int, exponent: int = 2) -> float:
    return float(x**exponent)


@task(taint="gpu", outputs=2, serializer=Serialize())
def split(x: int) -> tuple[int, str]:
    return x, str(x)


@dag
def chosen(x: int) -> float | str:
    found = when(x, then=lambda: power(x), otherwise=lambda: str(x))
    assert_type(found, float | str)
    assert_type(when(x, lambda: power(x)), float | None)
    return found


def notify(*args: object) -> None: ...


@task(
    retry=Retry(max_attempts=5, wait=exponential(base=0.5), on=(OSError, ValueError), give_up_on=KeyError),
    timeout=Timeout(soft=9.5, hard=10),
    start_within=60,
    min_success=0.9,
    on_item_failure="fail",
    max_concurrent=8,
    cache=Cache(ttl=3600, key=lambda url: f"v2 {url}", max_bytes=1024),
    on_success=notify,
    on_failure=notify,
    on_retry=print,
)
def download(url: str) -> bytes:
    return url.encode()


@dag(
    fail_fast=False,
    max_active_runs=1,
    on_success=notify,
    on_failure=mail(to="ops@example.com"),
    keep="outputs",
    deadline=60,
)
def downloads(urls: list[str]) -> list[bytes]:
    return [
        download.options(timeout=5, cache=Cache(60, key="one for all"), on_item_failure="skip")(url) for url in urls
    ]


@dag(on_item_failure="skip", min_success=None)
def tolerant(url: str) -> bytes:
    return download.options(on_item_failure="fail")(url)


@dag
def what_is_left(urls: list[str]) -> list[bytes]:
    found = [tolerant.options(min_success=0.5)(url) for url in urls]
    some: list[int | Skipped] = [1, Skipped("", "", "")]
    assert_type(present(some), list[int])
    assert_type(present(found), list[bytes])
    return present(found)


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
    assert_type(pipeline.options(key="k", if_failed="resume", deadline=60).submit([1]), Run[float])


def durability_changes_no_type() -> None:
    assert_type(download("u"), bytes)
    assert_type(download.options(retry=Retry(wait=2), timeout=5, max_concurrent=1, on_retry=notify)("u"), bytes)
    assert_type(downloads.submit(["u"]), Run[list[bytes]])
    assert_type(downloads.options(fail_fast=True, keep="all", max_active_runs=2).submit(["u"]), Run[list[bytes]])


def policies_have_types() -> None:
    assert_type(exponential(), Wait)
    assert_type(static(3), Wait)
    assert_type(Retry(wait=3).wait, Wait)
    assert_type(Retry(on=OSError).on, tuple[type[BaseException], ...])
    assert_type(Timeout(hard=3).soft, float | None)
    assert_type(dagcelery.Retry(2, dagcelery.static(1)), Retry)
    assert_type(dagcelery.Timeout(soft=1), Timeout)


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


@task(dynamic=True)
def grown(n: int) -> list[int]:
    return [grown(n - 1)[0]]


class Growing(Workflow, serializer=AsPickle()):
    def __init__(self, size: int) -> None:
        self.size = size

    @task
    def entrypoint(self, n: int) -> list[str]:
        return [self.part(i) for i in range(n)]

    @task
    def part(self, n: int) -> str:
        return self.label(n)

    @task(taint="gpu")
    async def later(self, n: int) -> str:
        return await self.later(n)

    def label(self, n: int) -> str:
        return str(n * self.size)


def what_is_dynamic_keeps_its_types() -> None:
    assert_type(grown(3), list[int])
    assert_type(grown.submit(3), Run[list[int]])
    growing = register_definition(Growing(2))
    assert_type(growing, Growing)
    assert_type(growing.part(1), str)
    assert_type(growing.part.submit(n=1), Run[str])
    assert_type(growing.later.invoke(1), str)
    assert_type(growing.submit(3), Run[Any])
    submit(growing, {"n": 3})
    invoke(growing, {"n": 3})


def what_is_misspelt_is_an_error() -> None:
    growing = Growing("2")  # type: ignore[arg-type]
    growing.part("1")  # type: ignore[arg-type]
    task(dynamic="yes")(power.fn)  # type: ignore[call-overload]
    task(tain="gpu")(power.fn)  # type: ignore[call-overload]
    power.option(name="x")  # type: ignore[attr-defined]
    build(3)  # type: ignore[arg-type]


def what_is_no_policy_is_an_error() -> None:
    task(retry=3)  # type: ignore[call-overload]
    task(timeout="5s")  # type: ignore[call-overload]
    task(on_item_failure="ignore")  # type: ignore[call-overload]
    task(max_concurrent=1.5)  # type: ignore[call-overload]
    task(on_success="notify")  # type: ignore[call-overload]
    dag(keep="some")  # type: ignore[call-overload]
    dag(retry=Retry())  # type: ignore[call-overload]
    download.options(retry=3)  # type: ignore[arg-type]
    download.options(min_success="all")  # type: ignore[arg-type]
    downloads.options(keep="some")  # type: ignore[arg-type]
    downloads.options(timeout=5)  # type: ignore[call-arg]
    downloads.options(key="k", if_failed="renew")  # type: ignore[arg-type]
    Retry(max_attempts="3")  # type: ignore[arg-type]
    Retry(on=[OSError])  # type: ignore[arg-type]
    Retry(on=int)  # type: ignore[arg-type]
    Retry(wait=None)  # type: ignore[arg-type]
    Timeout(5).hard = 6  # type: ignore[misc]
    exponential(jitter="full")  # type: ignore[arg-type]
