"""A dynamic task's body is plain Python with real values; the calls that it makes are executed after it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dagcelery import AsPickle, Cache, Retry, current, dag, errors, task

from .vocabulary import add, countdown, double, doubled_total, later, same, spread, total


def test_recursion_may_be_deeper_than_pythons_own() -> None:
    assert countdown.invoke(1100) == 0


def test_promises_are_found_in_lists_tuples_sets_and_dicts() -> None:
    @task(dynamic=True, serializer=AsPickle())
    def nested() -> Any:
        one, two = double(1), double(2)
        value: Any = {"list": [one, 0], "tuple": (one, (two,)), "set": {two, 7}, "dict": {"deep": [{"er": one}]}}
        return same.options(name="inner")(value), value

    @dag(serializer=AsPickle())
    def whole() -> Any:
        return nested()

    expected = {"list": [2, 0], "tuple": (2, (4,)), "set": {4, 7}, "dict": {"deep": [{"er": 2}]}}
    assert whole.invoke() == (expected, expected)


def test_calls_are_executed_though_nobody_takes_what_they_return() -> None:
    seen: list[int] = []

    @task
    def note(x: int) -> None:
        seen.append(x)

    @task(dynamic=True)
    def noted(n: int) -> str:
        for i in range(n):
            note(i)
        return "noted"

    assert noted.invoke(3) == "noted"
    assert sorted(seen) == [0, 1, 2]


def test_order_without_a_value_is_said_as_in_a_dag() -> None:
    seen: list[str] = []

    @task
    def step(name: str) -> None:
        seen.append(name)

    @task(dynamic=True)
    def ordered() -> None:
        last = step("a")
        for name in "bcd":
            last = step.after(last)(name)

    ordered.invoke()
    assert seen == ["a", "b", "c", "d"]


def test_a_dynamic_task_is_a_node_of_a_dag_whose_results_may_be_mapped() -> None:
    @dag
    def mapped(n: int) -> dict[str, Any]:
        made = spread(n)
        return {"all": made, "more": [add(x, 1) for x in made], "first": made[0], "sum": total(made)}

    assert mapped.invoke(3) == {"all": [0, 2, 4], "more": [1, 3, 5], "first": 0, "sum": 6}


def test_each_item_of_a_map_may_grow_a_graph_or_not() -> None:
    @task(dynamic=True)
    def some(x: int) -> int:
        return double(x) if x % 2 else -x

    @dag
    def mapped(xs: list[int]) -> list[int]:
        return [add(some(x), 100) for x in xs]

    assert mapped.invoke(xs=list(range(40))) == [2 * x + 100 if x % 2 else 100 - x for x in range(40)]
    assert mapped.invoke(xs=[]) == []


def test_an_async_task_awaits_events_and_promises_alike() -> None:
    @task(dynamic=True)
    async def gathered(n: int) -> list[int]:
        await asyncio.sleep(0)
        first = await later(n)
        others = await asyncio.gather(*[later(i) for i in range(n)])
        return [first, *others]

    assert gathered.invoke(3) == [4, 1, 2, 3]


def test_a_run_within_a_running_task_is_a_run_of_its_own() -> None:
    @task
    def calling(x: int) -> int:
        return double(x) + 1

    @task(dynamic=True)
    def outer(x: int) -> int:
        return add(calling.invoke(x), 1)

    assert outer.invoke(4) == 10


def test_options_of_tasks_hold_for_the_nodes_that_they_become() -> None:
    failures = []

    @task(retry=Retry(max_attempts=2, on=OSError))
    def shaky(x: int) -> int:
        if not failures:
            failures.append(x)
            raise ConnectionError("once")
        return x

    @task(dynamic=True)
    def outer(x: int) -> int:
        return shaky(x)

    assert outer.invoke(3) == 3
    assert failures == [3]


def test_a_piece_says_where_it_is() -> None:
    @task
    def where(x: int) -> str:
        return current().address

    @task(dynamic=True)
    def deeper(n: int) -> list[Any]:
        return [where(1), where(2), deeper(n - 1)] if n else []

    assert deeper.invoke(2) == ["deeper/where", "deeper/where-2", ["deeper/deeper/where", "deeper/deeper/where-2", []]]


def test_a_failure_names_the_node_by_its_address() -> None:
    @task
    def broken(x: int) -> int:
        raise ValueError(f"no {x}")

    @task(dynamic=True)
    def outer(xs: list[int]) -> list[int]:
        return [broken(x) for x in xs]

    @dag
    def whole(xs: list[int]) -> list[list[int]]:
        return [outer([x]) for x in xs]

    with pytest.raises(errors.NodeFailed, match=r"node outer\[0\]/broken failed with ValueError: no 7") as caught:
        whole.invoke(xs=[7])
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_dynamic_task_is_not_cached_but_those_that_it_calls_are() -> None:
    called: list[int] = []

    @task(cache=Cache(ttl=60, key="a growing test"))
    def kept(x: int) -> int:
        called.append(x)
        return x

    @task(dynamic=True)
    def outer(xs: list[int]) -> list[int]:
        return [kept(x) for x in xs]

    assert (outer.invoke([1, 2]), outer.invoke([2, 1])) == ([1, 2], [2, 1])
    assert sorted(called) in ([1, 2], [1, 1, 2, 2])
    with pytest.raises(errors.InvalidDag, match="is on a dynamic task, whose result other tasks make"):
        task(dynamic=True, cache=Cache(ttl=60))


def _last_digit(x: int) -> str:
    return str(x % 10)


@task(cache=Cache(60.0, key=_last_digit))
def _kept_by_digit(x: int) -> int:
    return x


def test_what_it_calls_may_be_kept_under_a_key_of_its_own() -> None:
    @task(dynamic=True)
    def calling(x: int) -> list[int]:
        return [double(x), _kept_by_digit(x)]

    _kept_by_digit.forget()
    assert calling.invoke(12) == [24, 12]
    assert calling.invoke(32) == [64, 12]


def test_a_dag_that_is_returned_without_being_called_is_refused_if_it_wants_parameters() -> None:
    @task(dynamic=True)
    def uncalled() -> Any:
        return doubled_total

    with pytest.raises(errors.NodeFailed, match="without a value for its parameter 'xs'; call it with arguments"):
        uncalled.invoke()
