"""A user's module: tasks and DAGs that the runtime's tests run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dagcelery import Workflow, dag, register_definition, task


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def square(x: int) -> int:
    return x * x


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def lazy_total(xs: Iterable[int]) -> int:
    return sum(xs)


@task
def echo(x: Any) -> Any:
    return x


@task(taint="gpu")
def gpu_echo(x: Any) -> Any:
    return x


@task(taint="gpu")
def gpu_total(xs: list[int]) -> int:
    return sum(xs)


@task
def fail_on(x: int, bad: int) -> int:
    if x == bad:
        raise ValueError(f"no {x}")
    return x


@dag
def map_reduce(n: int) -> int:
    return total([square(x) for x in numbers(n)])


@dag
def map_only(n: int) -> list[int]:
    return [square(x) for x in numbers(n)]


@dag
def map_then_gpu(n: int) -> int:
    return gpu_total([square(x) for x in numbers(n)])


@dag
def squares_of(xs: list[int]) -> list[int]:
    return [square(x) for x in xs]


@dag
def sum_of_squares(xs: list[int]) -> int:
    return total([square(x) for x in xs])


@dag
def gpu_sum_of_squares(xs: list[int]) -> int:
    return gpu_total([square(x) for x in xs])


@dag
def two_reducers(n: int) -> dict[str, Any]:
    xs = numbers(n)
    squares = [square(x) for x in xs]
    return {"eager": total(squares), "lazy": lazy_total(squares), "whole": total(xs), "squares": squares}


@dag
def two_reducers_of(xs: list[int]) -> list[int]:
    squares = [square(x) for x in xs]
    return [total(squares), lazy_total(squares)]


@dag
def zigzag(x: int) -> int:
    return echo(gpu_echo(echo(gpu_echo(echo(x)))))


@dag
def neighbours(x: int) -> int:
    return echo(echo(gpu_echo(gpu_echo(gpu_echo(echo(echo(x)))))))


@dag
def long_zigzag(x: int) -> int:
    for _ in range(8):
        x = gpu_echo(echo(x))
    return x


@dag
def diamond(x: int) -> int:
    start = echo(x)
    return add(square(start), gpu_echo(start))


@dag
def row(k: int) -> int:
    return total([square(x) for x in numbers(k)])


@dag
def map_in_map(n: int) -> int:
    return total([row(k) for k in numbers(n)])


@dag
def element_chain(n: int) -> list[int]:
    return [add(square(x), x) for x in numbers(n)]


@dag
def across(n: int) -> int:
    """Fan-outs, straight runs and joins over two queues, in one graph."""
    ys = [add(gpu_echo(square(x)), x) for x in numbers(n)]
    return add(gpu_echo(echo(gpu_total(ys))), map_in_map(3))


@dag
def failing(n: int, bad: int) -> int:
    return total([fail_on(x, bad) for x in numbers(n)])


MANY = [map_reduce, map_then_gpu, two_reducers, map_in_map, element_chain, across]
"""DAGs with a parameter `n`, of every shape."""


@task(dynamic=True)
def halves(xs: list[int]) -> int:
    """A sum, by halves that call each other; some of them on another queue, some as a mapped DAG."""
    if len(xs) < 2:
        return gpu_total(xs)
    middle = len(xs) // 2
    found = [halves(xs[:middle]), halves(xs[middle:])]
    return chosen_total(found, squared(middle))


@task
def chosen_total(xs: list[int], ignored: int) -> int:
    return sum(xs)


@dag
def squared(n: int) -> int:
    return total([square(x) for x in numbers(n)])


@dag
def halves_of(n: int) -> dict[str, Any]:
    found = numbers(n)
    return {"sum": halves(found), "mapped": [halves([x, 1]) for x in found]}


class Shop(Workflow):
    """Is registered, so that it needs no pickle."""

    def __init__(self, price: int) -> None:
        self.price = price

    @task
    def entrypoint(self, items: list[int]) -> int:
        return total([self.cost(item) for item in items])

    @task
    def cost(self, item: int) -> int:
        return item * self.price


shop = register_definition(Shop(3), "unit.engine.flows.shop")
other_shop = Shop(4)


@task(dynamic=True)
def needing_pickle(x: int) -> Any:
    return echo(Shop(x))


@task(dynamic=True)
def countdown(n: int) -> int:
    return countdown(n - 1) if n else 0


@task(dynamic=True)
def named() -> Any:
    return [echo.options(name="one")(1), echo.options(name="one")(2)]


@task(dynamic=True)
def many(n: int) -> list[int]:
    return [echo(i) for i in range(n)]
