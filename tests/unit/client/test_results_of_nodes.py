"""A place gives back what its function gives in plain Python, in whatever parts that is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from dagcelery import AsPickle, dag, errors, task

from ..engine.worlds import World
from .test_nodes import nodes


class Pair(NamedTuple):
    left: int
    right: int


@task
def use(x: int) -> int:
    return 10 * x


@task(serializer=AsPickle())
def pair(x: int) -> Pair:
    return Pair(x, -x)


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@dag
def a_dict(x: int, k: int) -> Any:
    return {"s": use(x), "a b": x, "a_b": use(k), "k": k}


@dag
def a_tuple(x: int, k: int) -> Any:
    return use(x), {"q": [use(k), 5, x]}, k


@dag
def a_list(x: int, k: int) -> Any:
    return [use(x), use(k)]


@dag
def a_pair(x: int, k: int) -> Any:
    return {"pair": pair(x), "more": use(k)}


@dag
def nested(x: int, k: int) -> Any:
    return {"inner": a_tuple(x, k), "of": [use(y) for y in numbers(k)]}


IN_PYTHON: dict[Any, Callable[[int, int], Any]] = {
    a_dict: lambda x, k: {"s": 10 * x, "a b": x, "a_b": 10 * k, "k": k},
    a_tuple: lambda x, k: (10 * x, {"q": [10 * k, 5, x]}, k),
    a_list: lambda x, k: [10 * x, 10 * k],
    a_pair: lambda x, k: {"pair": Pair(x, -x), "more": 10 * k},
    nested: lambda x, k: {"inner": (10 * x, {"q": [10 * k, 5, x]}, k), "of": [10 * y for y in range(k)]},
}


@pytest.mark.parametrize("inner", IN_PYTHON, ids=lambda inner: inner.__name__)
def test_a_mapped_dag_gives_back_what_its_function_does(inner: Any) -> None:
    @dag
    def top(xs: list[int], k: int) -> Any:
        return [inner(x, k) for x in xs], use(k)

    world, name = World(), inner.__name__
    node = nodes(world, world.ended(top, xs=[1, 2, 3], k=2))
    expected = [IN_PYTHON[inner](x, 2) for x in (1, 2, 3)]
    assert node(name).result() == expected
    assert node(f"{name}[1]").result() == expected[1]
    assert node(f"{name}[0:2]").result() == expected[:2]


def test_a_long_list_of_dicts_is_read_as_it_is_asked_for() -> None:
    @dag
    def top(n: int) -> Any:
        return [a_list(x, 1) for x in numbers(n)]

    world = World()
    assert nodes(world, world.ended(top, n=1_002))("a_list").result()[1_001] == [10_010, 10]


def test_parts_of_a_mapped_dag_are_never_taken_for_all_of_it() -> None:
    @dag
    def top(xs: list[int]) -> Any:
        return [use(each["s"]) for each in [a_dict(x, x) for x in xs]]

    world = World()
    node = nodes(world, world.ended(top, xs=[1, 2]))
    for address in ("a_dict", "a_dict[1]", "a_dict[0:2]"):
        with pytest.raises(errors.ValueFreed, match=r"of its parts are stored: \['s'\]") as raised:
            node(address).result()
        assert "key_" not in str(raised.value)
