"""DAGs and graphs that are kept stand for what they were made of: nobody changes them, none is taken for another."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dagcelery import AsPickle, dag, task

PICKLED = AsPickle()
DEEP: list[Any] = []
for _ in range(3000):
    DEEP = [DEEP]
ITSELF: list[Any] = []
ITSELF.append(ITSELF)


@task(serializer=PICKLED)
def same(x: Any) -> Any:
    return x


def test_what_a_nested_dag_returned_may_be_changed_without_changing_that_dag() -> None:
    @dag
    def inner(x: int) -> list[Any]:
        return [same(x), [1], {"k": [2]}]

    @dag
    def outer(x: int) -> list[Any]:
        changed = inner(x)
        changed[1].append(3)
        changed[2]["k"].append(4)
        return [changed, inner(x), [same(each) for each in same([x])]]

    expected = [[0, [1, 3], {"k": [2, 4]}], [0, [1], {"k": [2]}], [0]]
    assert [outer(0), outer.invoke(0), outer.invoke(0)] == [expected] * 3
    assert inner.invoke(0) == inner(0)


@pytest.mark.parametrize(
    "keys", [(0.0, -0.0), ((1,), (True,)), ((1, 0.0), (1.0, -0.0)), (frozenset({1}), frozenset({True}))]
)
def test_graphs_whose_keys_are_equal_and_not_the_same_are_two(keys: tuple[Any, ...]) -> None:
    @task(dynamic=True, serializer=PICKLED)
    def keyed(key: Any) -> dict[Any, Any]:
        return {key: same(0)}

    @dag(serializer=PICKLED)
    def both(keys: list[Any]) -> list[Any]:
        return [keyed(key) for key in keys]

    assert repr(both.invoke(list(keys))) == repr([{key: 0} for key in keys])


ENDLESS = {
    "long": 10**5000,
    "long and negative": -(10**5000),
    "long in a tuple": (10**5000, 1),
    "infinite": math.inf,
    "in itself": ITSELF,
    "deep": DEEP,
}


@pytest.mark.parametrize("value", ENDLESS.values(), ids=ENDLESS)
def test_a_static_value_may_be_long_deep_and_without_end(value: Any) -> None:
    @dag(static=("kept",), serializer=PICKLED)
    def known(x: int, kept: Any) -> list[Any]:
        return [same(x), type(kept).__name__]

    assert known.invoke(1, value) == known(1, value)


def test_so_may_be_a_global_that_a_body_reads() -> None:
    @dag
    def reading(x: int) -> list[int]:
        return [same(len(DEEP)), same(len(ITSELF)), same(x)]

    assert reading.invoke(3) == [1, 1, 3]
