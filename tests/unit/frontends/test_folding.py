"""Where the number, the place or another element of a list would matter, building says so."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional import build, dag

from .vocabulary import add, counted, numbers, same, seven, square, total

CASES: list[Any] = []


def refused(message: str) -> Callable[[Callable[..., Any]], None]:
    def keep(body: Callable[..., Any]) -> None:
        CASES.append(pytest.param(body, message, id=body.__name__))

    return keep


@refused("depends on how many elements a list has.*take a list|len, slices")
def the_length_of_a_list_of_results(n: Any) -> Any:
    ys = [square(x) for x in numbers(n)]
    return add(total(ys), len(ys))


@refused("needs some of its elements")
def a_slice(n: Any) -> Any:
    return total([square(x) for x in numbers(n)][:2])


@refused("needs some of its elements.*the task that takes it")
def a_reversed_list(n: Any) -> Any:
    return total([square(x) for x in numbers(n)][::-1])


@refused("cannot be compared")
def a_sorted_list(n: Any) -> Any:
    return total(sorted(square(x) for x in numbers(n)))


@refused("gives 'b' of 'add' 1 instead of 0.*enumerate")
def an_enumerated_output(n: Any) -> Any:
    return [add(x, i) for i, x in enumerate(numbers(n))]


@refused("with one element instead of three")
def a_choice_by_length(n: Any) -> Any:
    ys = [square(x) for x in numbers(n)]
    return total(ys) if len(ys) > 1 else ys[0]


@refused("calls 'add' more often")
def something_for_the_first_only(n: Any) -> Any:
    ys = [square(x) for x in numbers(n)]
    add(ys[0])
    return ys


@refused("belongs to one element of a list; return the list")
def the_first_result(n: Any) -> Any:
    ys = [square(x) for x in numbers(n)]
    return ys[0]


@refused("belongs to one element of a list")
def the_last_result(n: Any) -> Any:
    for x in numbers(n):
        y = square(x)
    return y


@refused("calls 'square' more often")
def a_loop_left_early(n: Any) -> Any:
    for x in numbers(n):
        square(x)
        break


@refused("needs some of its elements")
def a_result_carried_to_the_next_element(n: Any) -> Any:
    so_far = 0
    for x in numbers(n):
        so_far = add(so_far, x)
    return so_far


@refused("needs some of its elements")
def neighbours(n: Any) -> Any:
    ys = [square(x) for x in numbers(n)]
    return [add(a, b) for a, b in itertools.pairwise(ys)]


@refused("needs a value that is made of all its own results; give the inner loop a DAG")
def an_inner_loop_that_needs_its_own_outcome(n: Any) -> Any:
    def one(x: Any) -> Any:
        ys = numbers(x)
        t = total([square(y) for y in ys])
        return [add(y, t) for y in ys]

    return [one(x) for x in numbers(n)]


@refused("pass that list itself")
def an_inner_list_copied(n: Any) -> Any:
    return [total(list(counted(x))) for x in numbers(n)]


@refused("call before the loop what does not depend on the element")
def the_same_call_for_each_result(n: Any) -> Any:
    ys = [square(x) for x in numbers(n)]
    return [add(y, total(ys)) for y in ys]


@refused("differs from one to the next: the body gives 'b' of 'add'")
def a_random_value(n: Any) -> Any:
    return [add(x, random.randrange(10**9)) for x in numbers(n)]


@refused("values that change from one time to the next are parameters")
def a_random_value_outside_the_loop(n: Any) -> Any:
    return [square(x) for x in numbers(n)], add(n, random.randrange(10**9))


@refused("returns something else")
def one_value_for_each_element(n: Any) -> Any:
    return [n for _ in numbers(n)], seven()


@refused("fails while it is built with one element instead of three: IndexError")
def an_index(n: Any) -> Any:
    ys = [square(x) for x in numbers(n)]
    return same([len([ys[1]]), total(ys)])


@pytest.mark.parametrize(("body", "message"), CASES)
def test_it_is_refused_and_the_remedy_told(body: Callable[..., Any], message: str) -> None:
    with pytest.raises(InvalidDag, match=f"(?s){message}"):
        build(dag(body))


def test_zip_kept_alive_leaves_no_element_behind() -> None:
    @dag
    def d(n: int) -> Any:
        xs = numbers(n)
        both = zip(xs, xs, strict=False)
        ys = [add(a, b) for a, b in both]
        return seven(), ys

    assert build(d).nodes["seven"].over is None


def test_literals_made_anew_by_each_run_of_the_body_are_the_same() -> None:
    class Settings:
        def __init__(self) -> None:
            self.depth = 3

    globals()["Settings"] = Settings
    Settings.__qualname__ = "Settings"

    @dag
    def d(n: int) -> Any:
        return [same([x, Settings(), lambda v: v + 1]) for x in numbers(n)]

    assert list(build(d).nodes) == ["numbers", "same"]
