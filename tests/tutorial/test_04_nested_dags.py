"""4. A DAG that is called in another one is nested there, once or once per item of a list, to any depth."""

from __future__ import annotations

from typing import Any

from dagcelery import build, dag, invoke, task


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def power(x: int, exponent: int = 2) -> int:
    return int(x**exponent)


@task
def multiply(a: int, b: int) -> int:
    return a * b


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def sum_of_powers(n: int, exponent: int = 2) -> int:
    return total([power(x, exponent) for x in numbers(n)])


@dag
def products(x: int, ys: list[int]) -> list[int]:
    return [multiply(x, y) for y in ys]


def test_a_nested_dag_is_called_like_a_task() -> None:
    @dag
    def both(n: int) -> list[int]:
        return [sum_of_powers(n), sum_of_powers(n, exponent=3)]

    assert invoke(both, {"n": 4}) == [14, 36]


def test_it_is_a_dag_within_the_dag() -> None:
    @dag
    def outer(n: int) -> int:
        return power(sum_of_powers(n))

    assert list(build(outer).nodes) == ["sum_of_powers", "power"]


def test_a_nested_dag_runs_once_per_item_of_a_list() -> None:
    @dag
    def rows(n: int) -> int:
        return total([sum_of_powers(k) for k in numbers(n)])

    assert invoke(rows, {"n": 5}) == 0 + 0 + 1 + 5 + 14


def test_loops_may_be_nested_where_the_inner_list_depends_on_the_outer_element() -> None:
    @dag
    def triangle(n: int) -> list[list[int]]:
        return [[power(y) for y in numbers(x)] for x in numbers(n)]

    assert invoke(triangle, {"n": 4}) == [[], [0], [0, 1], [0, 1, 4]]


def test_every_pair_of_two_lists_takes_a_dag_for_the_inner_loop() -> None:
    @dag
    def table(xs: list[int], ys: list[int]) -> list[list[int]]:
        return [products(x, ys) for x in xs]

    assert invoke(table, {"xs": [1, 2], "ys": [3, 4, 5]}) == [[3, 4, 5], [6, 8, 10]]


def test_the_result_of_a_nested_dag_has_its_shape() -> None:
    @dag
    def described(n: int) -> dict[str, Any]:
        xs = numbers(n)
        return {"sum": total(xs), "squares": [power(x) for x in xs], "n": n}

    @dag
    def outer(n: int) -> list[Any]:
        found = described(n)
        return [found["sum"], found["n"], [multiply(x, 2) for x in found["squares"]]]

    assert invoke(outer, {"n": 4}) == [6, 4, [0, 2, 8, 18]]


def test_a_tuple_that_a_nested_dag_returns_is_taken_apart() -> None:
    @dag
    def ends(n: int) -> tuple[int, int]:
        return power(1), power(n)

    @dag
    def outer(n: int) -> int:
        low, high = ends(n)
        return multiply(low, high)

    assert invoke(outer, {"n": 4}) == 16


def test_dags_nest_to_any_depth() -> None:
    @dag
    def one(n: int) -> int:
        return total([sum_of_powers(x) for x in numbers(n)])

    @dag
    def two(n: int) -> int:
        return total([one(x) for x in numbers(n)])

    @dag
    def three(n: int) -> list[int]:
        return [two(x) for x in numbers(n)]

    assert invoke(three, {"n": 6}) == three(6)


def test_what_comes_after_a_nested_dag_waits_for_all_of_it() -> None:
    done: list[int] = []

    @task
    def note(x: int) -> None:
        done.append(x)

    @task
    def count() -> int:
        return len(done)

    @dag
    def noted(n: int) -> None:
        [note(x) for x in numbers(n)]

    @dag
    def outer(n: int) -> int:
        return count.after(noted(n))()

    assert invoke(outer, {"n": 3}) == 3
