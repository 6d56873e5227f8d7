"""A function that workers cannot import travels with its run: lambdas, closures, and what a script defines."""

from __future__ import annotations

from dagcelery import dag, task

from .site import Site

SECONDS = 60.0


def test_a_lambda_travels(at: Site) -> None:
    assert task(lambda x: x + 1).submit(x=1).result(timeout=SECONDS) == 2


def test_a_closure_travels_with_what_it_captures(at: Site) -> None:
    offset = {"by": 40}

    @task
    def shifted(x: int) -> int:
        return x + offset["by"]

    @task
    def added(xs: list[int]) -> int:
        return sum(xs)

    @dag
    def shift_all(xs: list[int]) -> int:
        return added([shifted(x) for x in xs])

    assert shift_all.submit(xs=[1, 2]).result(timeout=SECONDS) == 83


def test_a_closure_that_is_async_travels_too(at: Site) -> None:
    by = 5

    @task
    async def later(x: int) -> int:
        return x + by

    assert later.submit(x=1).result(timeout=SECONDS) == 6
