"""What a call held in memory is free when its piece is over: the next one, or the next attempt, finds nothing of it."""

from __future__ import annotations

import asyncio
import gc
import uuid
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from celery import signals

from dagcelery import AsPickle, Cache, Retry, current, dag, invoke, task
from dagcelery.errors import NodeFailed
from dagcelery.worker.signals import Announcer

from .worlds import World, celery_app

alive: weakref.WeakSet[Any] = weakref.WeakSet()
found: list[int] = []


class Large:
    """What a task would not hold twice."""

    def __init__(self) -> None:
        alive.add(self)

    def __reduce__(self) -> Any:
        return Large, ()


@pytest.fixture(scope="module", autouse=True)
def _looks_at_nothing_older() -> Iterator[None]:
    """Each collection of this module is quick though much was imported before."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    alive.clear()
    found.clear()
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def look() -> None:
    found.append(len(alive))


def never_again(before: int) -> None:
    raise ValueError(f"attempt {before}")


@task(retry=Retry(4, wait=0))
def tries(x: int) -> int:
    look()
    data = Large()
    if current().attempt < 4:
        raise ValueError(data)
    return x


@task(retry=Retry(4, wait=0))
def tries_deep(x: int) -> int:
    look()
    data = [Large()]
    try:
        never_again(len(data))
    except ValueError as error:
        kept = error
        more = Large()
        if current().attempt < 4:
            raise RuntimeError(more) from kept
    return x


@task(retry=Retry(4, wait=0))
async def tries_async(x: int) -> int:
    look()
    data = Large()
    await asyncio.sleep(0)
    if current().attempt < 4:
        raise ExceptionGroup("all", [ValueError(data)])
    return x


@task(retry=Retry(4, wait=0), cache=Cache(ttl=60, key=lambda x: uuid.uuid4().hex))
def tries_cached(x: int) -> int:
    look()
    data = Large()
    if current().attempt < 4:
        raise ValueError(data)
    return x


@task(retry=Retry(4, wait=0, on=BaseException), timeout=50, on_retry=lambda notice: None)
def tries_limited(x: int) -> int:
    look()
    data = Large()
    if current().attempt < 4:
        raise SystemExit(data)
    return x


@dag
def item_tries(xs: list[int]) -> list[int]:
    return [tries(x) for x in xs]


TRYING = [tries, tries_deep, tries_async, tries_cached, tries_limited]


@pytest.mark.parametrize("node", TRYING, ids=lambda node: node.__name__)
@pytest.mark.parametrize("is_heard", [False, True], ids=["alone", "heard"])
def test_what_a_failed_attempt_held_is_gone_at_the_next_one(node: Any, is_heard: bool) -> None:
    def hear(**_: Any) -> None: ...

    world = World(workers=1, listener=Announcer(celery_app()) if is_heard else None)
    if is_heard:
        signals.task_failure.connect(hear, weak=False)
        signals.task_retry.connect(hear, weak=False)
    try:
        assert world.run(node, x=1) == 1
    finally:
        signals.task_failure.disconnect(hear)
        signals.task_retry.disconnect(hear)
    assert found == [0, 0, 0, 0]
    gc.collect()  # a task's own circles
    found.clear()
    assert invoke(node, {"x": 1}) == 1
    assert found == [0, 0, 0, 0]


def test_of_an_item_as_well() -> None:
    assert invoke(item_tries, {"xs": [1, 2]}) == [1, 2]
    assert set(found) == {0}


@task(serializer=AsPickle())
def makes() -> Any:
    look()
    return Large()


@task(serializer=AsPickle())
def takes(x: Any) -> Any:
    look()
    return Large()


@dag
def hands_on() -> None:
    takes(takes(takes(makes())))


def test_arguments_and_results_of_the_last_piece_are_gone_too() -> None:
    invoke(hands_on)
    assert found == [0, 1, 1, 1]
    World(workers=1).run(hands_on)
    assert found[4:] == [0, 1, 1, 1]


@task(on_item_failure="skip")
def skipped(x: int) -> int:
    look()
    data = Large()
    raise ValueError(data)


@dag
def all_skipped(xs: list[int]) -> list[int]:
    return [skipped(x) for x in xs]


def test_failures_that_are_tolerated_hold_nothing() -> None:
    invoke(all_skipped, {"xs": [1, 2, 3]})
    assert found == [0, 0, 0]


def test_in_process_the_error_that_stands_is_whole() -> None:
    @task(retry=Retry(2, wait=0))
    def fails() -> None:
        data = f"attempt {current().attempt}"
        raise ValueError(data)

    with pytest.raises(NodeFailed) as caught:
        invoke(fails)
    cause = caught.value.__cause__
    assert isinstance(cause, ValueError)
    assert str(cause) == "attempt 2"
    trace = cause.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace.tb_frame.f_locals["data"] == "attempt 2"


def test_an_attempt_that_was_repeated_is_nobody_s_cause() -> None:
    @task(retry=Retry(2, wait=0))
    def flaky() -> int:
        if current().attempt == 1:
            raise KeyError("repeated")
        return 1

    @task
    def fails(x: int) -> None:
        raise ValueError("stands")

    @dag
    def one_after_the_other() -> None:
        fails(flaky())

    with pytest.raises(NodeFailed) as caught:
        invoke(one_after_the_other)
    assert repr(caught.value.__cause__) == "ValueError('stands')"


def test_a_generator_that_goes_on_is_not_ended_with_an_error_that_passed_it() -> None:
    def endless() -> Iterator[Any]:
        raised: Any = None
        while True:
            try:
                yield raised
            except ValueError as error:
                raised = error

    source = endless()
    next(source)

    @task(retry=Retry(3, wait=0))
    def throws() -> int:
        if current().attempt < 3:
            raise source.throw(ValueError("passes"))
        return current().attempt

    assert invoke(throws) == 3
    assert source.gi_frame is not None  # type: ignore[attr-defined]
