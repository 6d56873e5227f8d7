"""Going through two lists of unknown lengths at once is refused, each way with code that does the same."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from dagcelery import build, dag, task
from dagcelery.errors import InvalidDag

from .vocabulary import add, numbers, same


def zipped(n: int) -> Any:
    return [add(x, y) for x, y in zip(numbers(n), square_all(n), strict=True)]


def zipped_and_numbered(n: int) -> Any:
    return [add(x, y) for _, (x, y) in enumerate(zip(numbers(n), square_all(n), strict=True))]


def zipped_with_one_unused(n: int) -> Any:
    return [same(x) for x, _ in zip(numbers(n), square_all(n), strict=True)]


def zipped_three(n: int) -> Any:
    return [add(x, y) for x, y, _ in zip(numbers(n), square_all(n), same(n), strict=True)]


def mapped(n: int) -> Any:
    return list(map(add, numbers(n), square_all(n)))


def nested(n: int) -> Any:
    xs, ys = numbers(n), square_all(n)
    return [add(x, y) for x in xs for y in ys]


def nested_lists(n: int) -> Any:
    xs, ys = numbers(n), square_all(n)
    return [[add(x, y) for y in ys] for x in xs]


def nested_statements(n: int) -> Any:
    made, ys = [], square_all(n)
    for x in numbers(n):
        here = same(x)
        for y in ys:
            made.append(add(here, y))  # noqa: PERF401
    return made


def product(n: int) -> Any:
    return [add(x, y) for x, y in itertools.product(numbers(n), square_all(n))]


def nested_and_caught(n: int) -> Any:
    xs, ys = numbers(n), square_all(n)
    with suppress(InvalidDag):
        return [add(x, y) for x in xs for y in ys]


def flattened(n: int) -> Any:
    return [add(x, y) for x in numbers(n) for y in numbers(x)]


@task
def square_all(n: int) -> list[int]:
    return [x * x for x in range(n)]


PAIRS = (zipped, zipped_and_numbered, zipped_with_one_unused, zipped_three, mapped)
LOOPS = (nested, nested_lists, nested_statements, product, nested_and_caught)


@pytest.mark.parametrize("body", PAIRS)
def test_pairing_two_outputs_is_told_to_pair_in_a_task(body: Callable[..., Any]) -> None:
    with pytest.raises(InvalidDag, match=r"(?s)at once; whether the two are equally long.*def paired\(xs") as caught:
        build(dag(body))
    assert "@dag" not in str(caught.value)


@pytest.mark.parametrize("body", LOOPS)
def test_nested_loops_are_told_to_nest_dags(body: Callable[..., Any]) -> None:
    with pytest.raises(InvalidDag, match=r"(?s)at once; give the inner loop a DAG.*@dag\n    def outer") as caught:
        build(dag(body))
    assert "paired" not in str(caught.value)


def test_a_loop_through_what_a_loop_made_is_told_to_make_a_list_of_lists() -> None:
    with pytest.raises(InvalidDag, match=r"a loop within a loop into one list; make a list of lists"):
        build(dag(flattened))


def test_a_loop_that_is_left_early_is_refused_nevertheless() -> None:
    def left(n: int) -> Any:
        for x in numbers(n):
            for y in square_all(n):
                return add(x, y)
        return None

    def broken(n: int) -> Any:
        for x, y in zip(numbers(n), square_all(n), strict=True):
            add(x, y)
            raise LookupError("of the body")

    for body in (left, broken):
        with pytest.raises(InvalidDag):
            build(dag(body))


def remedy(body: Callable[..., Any]) -> str:
    with pytest.raises(InvalidDag) as caught:
        build(dag(body))
    blocks = re.findall(r"(?m)(?:^    .*\n|^\n)+", caught.value.remedy)
    return textwrap.dedent("".join(blocks))


def test_what_is_told_does_what_was_meant() -> None:
    def f(x: int, y: int) -> int:
        return x + y

    paired = remedy(zipped).replace("[f(x, y)", "@dag\ndef used(xs, ys): return [f(x, y)")
    names: dict[str, Any] = {"dag": dag, "task": task, "Any": Any, "f": task(f)}
    exec(remedy(nested) + paired + remedy(flattened), names)

    assert names["outer"].invoke([1, 2], [10, 20]) == [[11, 21], [12, 22]]
    assert names["used"].invoke([1, 2], [10, 20]) == [11, 22]
    assert names["flat"].invoke([[1], [2, 3]]) == [1, 2, 3]
