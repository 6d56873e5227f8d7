"""Rows 31 to 47: the shapes of graphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from dagcelery import DAG, Pipeline, build, dag, invoke, stage, task, when
from dagcelery.local import Cluster

from .vocabulary import add, count, double, echo, map_reduce, numbers, total


@dag
def plus(x: int, y: int) -> int:
    return add(add(x, y), 0)


def deep(levels: int) -> Any:
    if not levels:
        return double

    @dag
    def around(x: int) -> int:
        return double(deep(levels - 1)(x))

    return around


def test_row_031_nested_dags_of_any_depth() -> None:
    made = build(deep(10))
    assert isinstance(made.nodes["around"], DAG)
    assert invoke(made, {"x": 1}) == 2**11


@pytest.mark.parametrize(("n", "result"), [(1, 0), (5, 20), (300, 89_700)])
def test_row_032_fan_out_over_a_list_whose_size_is_known_when_it_runs(n: int, result: int) -> None:
    assert invoke(map_reduce, {"n": n}) == result


def test_row_033_map_of_a_task() -> None:
    assert invoke(dag(lambda n: [add(x, n) for x in numbers(n)]), {"n": 3}) == [3, 4, 5]


def test_row_034_map_of_a_nested_dag() -> None:
    assert invoke(dag(lambda n: [plus(x, n) for x in numbers(n)]), {"n": 3}) == [3, 4, 5]


def test_row_035_fan_in_to_an_ordered_list() -> None:
    assert invoke(dag(lambda: echo([double(x) for x in echo([3, 1, 2])]))) == [6, 2, 4]
    assert invoke(dag(lambda: echo([double(3), double(1), 7]))) == [6, 2, 7]


def test_row_036_fan_in_of_a_key() -> None:
    @task
    def pair(x: int) -> dict[str, int]:
        return {"a": x, "b": -x}

    assert invoke(dag(lambda n: total([pair(x)["b"] for x in numbers(n)])), {"n": 4}) == -6


def test_row_037_map_reduce_inside_map_reduce() -> None:
    assert invoke(dag(lambda n: total([map_reduce(x) for x in numbers(n)])), {"n": 4}) == 0 + 0 + 2 + 6
    inline = dag(lambda n: total([total([double(y) for y in numbers(x)]) for x in numbers(n)]))
    assert invoke(inline, {"n": 4}) == 8


def test_row_038_empty_fan_out() -> None:
    assert invoke(dag(lambda: echo([double(x) for x in numbers(0)]))) == []


def test_row_039_fan_out_used_by_two_consumers() -> None:
    @dag
    def body(n: int) -> list[list[int]]:
        xs = numbers(n)
        return [[double(x) for x in xs], [add(x, 1) for x in xs]]

    assert invoke(body, {"n": 3}) == [[0, 2, 4], [1, 2, 3]]


def test_row_040_mapped_results_used_by_two_reducers() -> None:
    @dag
    def body(n: int) -> list[Any]:
        xs = numbers(n)
        ys = [double(x) for x in xs]
        return [total(ys), count(ys), total(xs)]

    assert invoke(body, {"n": 3}) == [6, 3, 3]


def test_row_041_mapped_results_as_the_output_of_a_dag() -> None:
    @dag
    def doubles(n: int) -> list[int]:
        return [double(x) for x in numbers(n)]

    assert invoke(doubles, {"n": 3}) == [0, 2, 4]
    assert invoke(dag(lambda: [add(x, 1) for x in doubles(3)])) == [1, 3, 5]


class Countdown:
    """An iterable of somebody's own."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, 0, -1))


def test_row_042_generators_and_iterables_of_ones_own_are_fanned_out() -> None:
    @task
    def yielded(n: int) -> Iterator[int]:
        yield from range(n)

    @task
    def counted(n: int) -> Iterable[int]:
        return Countdown(n)

    @dag
    def body(n: int) -> list[Any]:
        return [[double(x) for x in yielded(n)], [double(x) for x in counted(n)]]

    assert invoke(body, {"n": 3}) == [[0, 2, 4], [6, 4, 2]]


@task(dynamic=True)
def branched(x: int) -> int:
    """Decide by a value that is known only now."""
    return double(x) if x % 2 else add(x, 100)


def test_row_043_dynamic_branching_on_values(cluster: Cluster) -> None:
    body = dag(lambda n: [branched(x) for x in numbers(n)])
    assert invoke(body, {"n": 4}) == body.submit(n=4).result(timeout=30) == [100, 2, 102, 6]


@task(dynamic=True)
def summed(xs: list[int]) -> int:
    """Halve the list until there is nothing to halve."""
    if len(xs) < 2:
        return total(xs)
    middle = len(xs) // 2
    return add(summed(xs[:middle]), summed(xs[middle:]))


def test_row_044_nodes_that_are_created_while_it_runs(cluster: Cluster) -> None:
    run = summed.submit(xs=[1, 2, 3, 4])
    assert run.result(timeout=30) == 10
    names = [node.name.rpartition("/")[2].partition("-")[0] for node in run.status().nodes]
    assert Counter(names) == {"summed": 7, "add": 3, "total": 4}


@task(dynamic=True)
def handed_on(x: int) -> int:
    return double(x)


@task(dynamic=True)
def handed_on_again(x: int) -> int:
    return handed_on(x)


def test_row_045_consumers_of_a_task_that_returns_another_node_see_the_value(cluster: Cluster) -> None:
    body = dag(lambda x: [handed_on_again(x), add(handed_on_again(x), 1)])
    assert invoke(body, {"x": 3}) == body.submit(x=3).result(timeout=30) == [6, 7]


def test_row_046_order_of_parallel_groups() -> None:
    assert build(map_reduce).node_execution_order == [{"numbers"}, {"double"}, {"total"}]
    empty = stage(lambda: None)
    pipeline, first, second = Pipeline(), empty(), empty()
    pipeline.add_stages([first, second, empty().after(first, second)])
    assert [len(group) for group in pipeline.groups()] == [2, 1]


EXECUTED: list[int] = []


@task
def noted(x: int) -> int:
    EXECUTED.append(x)
    return x


@dag
def conditional(n: int) -> int:
    return when(is_large(n), then=lambda: noted(double(n)), otherwise=lambda: noted(add(n, 100)))


@task
def is_large(n: int) -> bool:
    return n > 10


def test_row_047_conditional_execution_in_a_static_dag(cluster: Cluster) -> None:
    assert [invoke(conditional, {"n": n}) for n in (20, 3)] == [40, 103]
    assert EXECUTED == [40, 103]
    assert [conditional.submit(n=n).result(timeout=30) for n in (20, 3)] == [40, 103]
