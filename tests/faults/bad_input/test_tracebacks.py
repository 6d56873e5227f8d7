"""What a user did wrong is shown at the user's own line, without the frames of what found it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

import dagcelery
from dagcelery import AsPickle, build, dag, task
from dagcelery.errors import DagceleryError, InvalidDag, NodeFailed, SerializationError
from dagcelery.model import DAG, FromParam, Task


@task
def same(x: Any) -> Any:
    return x


def helped(x: Any) -> Any:
    return same(x + 1)


@dag
def computing(x: Any) -> Any:
    return helped(x)


@dag
def deciding(x: Any) -> Any:
    return same(x) if x else None


@dag
def nesting(x: Any) -> Any:
    return computing(x)


@dag
def taking_apart(x: Any) -> Any:
    a, b = same(x)
    return [a, b]


@dag
def indexing(x: Any) -> Any:
    return ["one"][len([same(each) for each in same(x)])]


def lines(use: Callable[[], object]) -> tuple[BaseException, list[str]]:
    """The functions that a traceback of `use` names from there on, and the error."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        use()
    shown = traceback.TracebackException.from_exception(caught.value)
    return caught.value, [frame.name for frame in shown.stack[1:]]


WAYS: list[Callable[[Any], object]] = [
    build,
    lambda found: found.__dag__(),
    lambda found: found.invoke(1),
    lambda found: dagcelery.invoke(found, {"x": 1}),
    lambda found: dagcelery.submit(found, {"x": 1}),
]


@pytest.mark.parametrize("use", WAYS)
@pytest.mark.parametrize(
    ("found", "names"),
    [
        (computing, ["computing", "helped"]),
        (deciding, ["deciding"]),
        (nesting, ["nesting", "computing", "helped"]),
        (indexing, ["indexing"]),
    ],
)
def test_the_last_line_of_a_traceback_is_the_users(
    use: Callable[[Any], object], found: Any, names: list[str], eager: Celery
) -> None:
    error, shown = lines(lambda: use(found))

    assert [name for name in shown if name != "<lambda>"] == names
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize(
    "use",
    [
        lambda: task(queue="a", taint="b"),
        lambda: task()(lambda *args: args),
        lambda: task(lambda *args: args),
        lambda: dag(static="y")(same.fn),
        lambda: same.options(queue="a", taint="b"),
        lambda: computing.options(deadline=-1),
        lambda: Task(same.fn, {"y": FromParam()}),
        lambda: DAG({}),
        lambda: computing.invoke(1, 2),
        lambda: dagcelery.invoke("nowhere"),
        lambda: dagcelery.invoke(DAG({"a": Task(same.fn, {"x": FromParam()})}, {"x": FromParam()}), {"y": 1}),
    ],
)
def test_what_is_wrong_where_it_is_written_is_shown_there(use: Callable[[], object]) -> None:
    error, shown = lines(use)

    assert isinstance(error, DagceleryError)
    assert shown == ["<lambda>"]
    assert error.__cause__ is None


def test_what_is_awaited_is_shown_without_our_frames() -> None:
    async def awaited() -> object:
        return await computing.asubmit(1, 2)

    _, shown = lines(lambda: asyncio.run(awaited()))

    assert shown[-1] == "awaited"


def test_a_users_own_error_stays_the_cause_and_is_shown_where_it_was_raised() -> None:
    error, _ = lines(lambda: build(taking_apart))
    assert isinstance(error, InvalidDag)
    assert isinstance(error.__cause__, ValueError)
    assert [each.name for each in traceback.extract_tb(error.__cause__.__traceback__)] == ["taking_apart"]

    @task
    def failing(x: int) -> Any:
        raise LookupError(x)

    failed, shown = lines(lambda: failing.invoke(1))
    assert isinstance(failed, NodeFailed)
    assert isinstance(failed.__cause__, LookupError)
    assert shown == ["<lambda>"]
    assert [each.name for each in traceback.extract_tb(failed.__cause__.__traceback__)] == ["failing"]


def test_an_error_of_a_users_serializer_stays_the_cause() -> None:
    class Odd:
        def __reduce__(self) -> Any:
            raise LookupError("odd")

    error, _ = lines(lambda: pickled.invoke(Odd()))

    assert isinstance(error, SerializationError)
    assert isinstance(error.__cause__, LookupError)


@dag(serializer=AsPickle())
def pickled(x: Any) -> Any:
    return same(x)


def test_what_is_ours_to_mend_keeps_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagcelery.client.local_runs.plan_of", None)

    error, shown = lines(lambda: same.invoke(1))

    assert isinstance(error, TypeError)
    assert len(shown) > 3
