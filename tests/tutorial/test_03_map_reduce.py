"""3. A comprehension over an output is a fan-out, a list of its results a fan-in, of sizes known when they run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from dagcelery import build, dag, invoke, task


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def power(x: int, exponent: int = 2) -> int:
    return int(x**exponent)


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def map_reduce(n: int, exponent: int = 2) -> int:
    return total([power(x=x, exponent=exponent) for x in numbers(n)])


@pytest.mark.parametrize("n", [0, 1, 2, 10, 1000])
def test_a_map_reduce_works_for_any_number_of_items(n: int) -> None:
    assert invoke(map_reduce, {"n": n}) == sum(x * x for x in range(n))


def test_it_is_three_nodes_however_long_the_list() -> None:
    assert list(build(map_reduce).nodes) == ["numbers", "power", "total"]


def test_a_parameter_is_mapped_as_an_output_is() -> None:
    @dag
    def squares(xs: list[int]) -> list[int]:
        return [power(x) for x in xs]

    assert invoke(squares, {"xs": [1, 2, 3]}) == [1, 4, 9]


def test_results_come_in_the_order_of_the_items() -> None:
    @dag
    def negated(xs: list[int]) -> list[int]:
        return [power(x, exponent=1) for x in xs]

    assert invoke(negated, {"xs": [3, 1, 2]}) == [3, 1, 2]


def test_calls_for_one_element_are_chained_without_waiting_for_the_others() -> None:
    order: list[str] = []

    @task
    def first(x: int) -> int:
        order.append(f"first {x}")
        return x

    @task
    def second(x: int) -> int:
        order.append(f"second {x}")
        return x

    @dag
    def chained(n: int) -> list[int]:
        return [second(first(x)) for x in numbers(n)]

    assert invoke(chained, {"n": 2}) == [0, 1]
    assert sorted(order) == ["first 0", "first 1", "second 0", "second 1"]


def test_lists_over_the_same_items_go_together_in_zip() -> None:
    @dag
    def zipped(n: int) -> list[int]:
        xs = numbers(n)
        squares = [power(x) for x in xs]
        return [add(x, square) for x, square in zip(xs, squares, strict=True)]

    assert invoke(zipped, {"n": 4}) == [0, 2, 6, 12]


def test_one_list_may_be_mapped_twice_and_taken_whole() -> None:
    @dag
    def shared(n: int) -> dict[str, Any]:
        xs = numbers(n)
        squares = [power(x) for x in xs]
        cubes = [power(x, 3) for x in xs]
        return {"whole": total(xs), "squares": total(squares), "again": total(squares), "cubes": cubes}

    assert invoke(shared, {"n": 4}) == {"whole": 6, "squares": 14, "again": 14, "cubes": [0, 1, 8, 27]}


def test_a_fan_in_may_stand_anywhere_in_a_list() -> None:
    @dag
    def mixed(n: int) -> int:
        xs = numbers(n)
        return total([100, *[power(x) for x in xs], *xs, 1000])

    assert invoke(mixed, {"n": 4}) == 100 + 14 + 6 + 1000


def test_what_does_not_depend_on_the_element_is_shared_by_all() -> None:
    @dag
    def shifted(n: int) -> list[int]:
        xs = numbers(n)
        offset = total(xs)
        return [add(power(x), offset) for x in xs]

    assert invoke(shifted, {"n": 3}) == [3, 4, 7]


def test_parts_of_elements_are_read_by_key() -> None:
    @task
    def rows() -> list[dict[str, int]]:
        return [{"a": 1, "b": 2}, {"a": 3, "b": 4}]

    @dag
    def by_key() -> list[int]:
        return [add(row["a"], row["b"]) for row in rows()]

    assert invoke(by_key) == [3, 7]


def test_a_list_within_a_result_is_mapped_too() -> None:
    @task
    def report(n: int) -> dict[str, Any]:
        return {"items": list(range(n)), "offset": 10}

    @dag
    def within(n: int) -> list[int]:
        made = report(n)
        return [add(x, made["offset"]) for x in made["items"]]

    assert invoke(within, {"n": 3}) == [10, 11, 12]


def test_any_iterable_can_be_mapped_so_a_task_may_yield_its_items() -> None:
    @task
    def counted(n: int) -> Iterator[int]:
        yield from range(n)

    @dag
    def generated(n: int) -> int:
        return total([power(x) for x in counted(n)])

    assert invoke(generated, {"n": 4}) == 14


def test_a_reducer_annotated_as_iterable_gets_its_items_without_holding_them_all() -> None:
    kinds: list[type] = []

    @task
    def lazily(xs: Iterable[int]) -> int:
        kinds.append(type(xs))
        return sum(xs) + sum(xs)

    @dag
    def lazy(n: int) -> int:
        return lazily([power(x) for x in numbers(n)])

    assert invoke(lazy, {"n": 4}) == 28
    assert kinds != [list]


def test_a_loop_that_appends_is_a_comprehension_written_out() -> None:
    @dag
    def looped(n: int) -> list[int]:
        found = []
        for x in numbers(n):
            square = power(x)
            found.append(add(square, x))
        return found

    assert invoke(looped, {"n": 3}) == [0, 2, 6]
