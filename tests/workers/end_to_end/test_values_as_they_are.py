"""On workers too a value is what it was when it was given or returned, and no other is taken for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from dagcelery import AsPickle, dag, task
from dagcelery.errors import KeyReused

from .site import Site

SECONDS = 60.0
P = AsPickle()


def test_one_object_that_is_returned_for_each_item_is_what_it_was_each_time(at: Site) -> None:
    buffer = [0]

    @task
    def numbers(n: int) -> list[int]:
        return list(range(n))

    @task
    def reuse(x: int) -> list[int]:
        buffer[0] = x
        return buffer

    @dag
    def reused(n: int) -> Any:
        return [reuse(x) for x in numbers(n)]

    assert reused.submit(n=1000).result(timeout=SECONDS) == [[x] for x in range(1000)]


def test_an_object_that_a_running_task_changes_is_what_it_was_at_each_call(at: Site) -> None:
    class Box:
        def __init__(self, v: Any) -> None:
            self.v = v

    @task(serializer=P)
    def see(box: Any) -> Any:
        return box.v if isinstance(box, Box) else box()

    @task(dynamic=True, serializer=P)
    def changing(n: int) -> Any:
        box, out = Box(0), []
        for k in range(n):
            box.v += 1
            out += [see(box), see(lambda: k)]  # noqa: B023 (that is the question)
        return out

    assert changing.submit(n=3).result(timeout=SECONDS) == [1, 0, 2, 1, 3, 2]


def test_a_generator_is_a_list_for_who_takes_it_whole(at: Site) -> None:
    @task
    def upto(n: int) -> Iterator[int]:
        yield from range(n)

    @task
    def total(xs: Any) -> int:
        return sum(xs)

    @dag
    def added(n: int) -> Any:
        return total(upto(n))

    assert added.submit(n=5).result(timeout=SECONDS) == 10
    assert upto.submit(n=3).result(timeout=SECONDS) == [0, 1, 2]


def test_a_key_does_not_stand_for_another_frame(at: Site) -> None:
    @dag(serializer=P)
    def counted(x: Any) -> Any:
        return rows(x)

    @task(serializer=P)
    def rows(x: Any) -> int:
        return int(x["a"].sum())

    frame = pd.DataFrame({"a": [1, 2]})
    first = counted.options(key="frame").submit(x=frame)
    assert counted.options(key="frame").submit(x=frame.copy()) == first
    with pytest.raises(KeyReused):
        counted.options(key="frame").submit(x=frame * 2)
    assert first.result(timeout=SECONDS) == 3
