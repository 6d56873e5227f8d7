"""What tasks get and give: nobody sees what another task did to a value, and every kind of value finds its way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import pytest

from dagcelery import dag, invoke, task
from dagcelery.model import DAG, Task
from dagcelery.model.nodes import FromReturnValue
from dagcelery.model.sources import FromNodeOutput, FromParam

from . import flows
from .worlds import World


# -- isolation ------------------------------------------------------------------------------------
@task
def spoil(xs: list[Any], by: int = 0) -> int:
    """Change the argument, as a careless function does."""
    found = len(xs)
    xs.clear()
    xs += [by] * 50
    return found


@task
def lists(n: int) -> list[list[int]]:
    return [[k] * k for k in range(n)]


def test_an_item_that_changes_a_shared_argument_does_not_change_it_for_the_next_item() -> None:
    @dag
    def shared(n: int) -> list[int]:
        xs = flows.numbers(n)
        return [spoil(xs, by=x) for x in xs]

    assert invoke(shared, {"n": 4}) == [4, 4, 4, 4]


@task
def mixed(n: int) -> list[Any]:
    """Return numbers first, so that several items are claimed together, the first of which cannot be changed."""
    return [*range(n), *({"a": [k]} for k in range(n))]


@task
def change(a: Any, b: Any) -> Any:
    """Change the first of two arguments; return the second."""
    if isinstance(a, dict):
        a["a"].append(9)
    elif isinstance(a, list):
        a.append(9)
    return b


def test_an_argument_that_is_changed_is_not_changed_for_another_one_that_is_read_from_the_same_element() -> None:
    @dag
    def twice(n: int) -> list[Any]:
        return [change(a=x, b=x) for x in mixed(n)]

    @dag
    def parts(n: int) -> dict[str, Any]:
        xs = records(n)
        return {"whole": [change(a=x, b=x["a"]) for x in xs], "held": [change(a=x["a"], b=[x, x]) for x in xs]}

    assert invoke(twice, {"n": 4}) == [0, 1, 2, 3, *({"a": [k]} for k in range(4))]
    held = [[{"a": [k]}, {"a": [k]}] for k in range(4)]
    assert invoke(parts, {"n": 4}) == {"whole": [[0], [1], [2], [3]], "held": held}


@task
def records(n: int) -> list[dict[str, list[int]]]:
    return [{"a": [k]} for k in range(n)]


def test_a_parameter_of_the_caller_is_not_changed() -> None:
    mine = [1, 2, 3]
    assert invoke(spoil, {"xs": mine}) == 3
    assert mine == [1, 2, 3]


def test_a_result_is_new_each_time_it_is_asked_for() -> None:
    world = World()
    run_id = world.ended(lists, n=3)
    world.result(run_id).clear()
    assert world.result(run_id) == [[], [1], [2, 2]]


# -- iterators ------------------------------------------------------------------------------------
class Countdown:
    """An iterable of one's own; it is no sequence."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.n, 0, -1))


def _generator(n: int) -> Iterator[int]:
    yield from range(n, 0, -1)


SOURCES = [
    _generator,
    Countdown,
    lambda n: iter(range(n, 0, -1)),
    lambda n: tuple(range(n, 0, -1)),
    lambda n: range(n, 0, -1),
    lambda n: dict.fromkeys(range(n, 0, -1)).keys(),
]


@pytest.mark.parametrize("make", SOURCES, ids=["generator", "iterable", "iterator", "tuple", "range", "keys"])
@pytest.mark.parametrize("n", [0, 1, 600])
def test_whatever_can_be_iterated_can_be_mapped(make: Any, n: int) -> None:
    source = task(lambda n: make(n))

    @dag
    def mapped(n: int) -> int:
        return flows.total([flows.add(x, 1) for x in source(n)])

    assert invoke(mapped, {"n": n}) == sum(k + 1 for k in range(1, n + 1))


def test_a_declared_iterable_of_ones_own_may_be_passed_whole() -> None:
    node = DAG(
        {
            "source": Task(Countdown, {"n": FromParam("n")}, {"xs": FromReturnValue(is_partitioned=True)}),
            "sum": Task(
                lambda xs: sum(xs), {"xs": FromNodeOutput("source", "xs")}, {"return_value": FromReturnValue()}
            ),
        },
        inputs={"n": FromParam()},
        outputs={"return_value": FromNodeOutput("sum", "return_value")},
    )
    assert invoke(node, {"n": 4}) == 10


@pytest.mark.parametrize(
    "xs", [iter([1, 2, 3]), (1, 2, 3), range(1, 4), Countdown(3)], ids=lambda xs: type(xs).__name__
)
def test_a_parameter_that_is_mapped_may_be_any_iterable(xs: Any) -> None:
    assert sorted(invoke(flows.squares_of, {"xs": xs})) == [1, 4, 9]


# -- lazy parameters ------------------------------------------------------------------------------
@pytest.mark.parametrize("annotation", [Iterable[int], Sequence[int], Collection[int]], ids=str)
def test_a_reducer_that_asks_for_an_iterable_reads_it_bit_by_bit_and_again(annotation: Any) -> None:
    def twice(xs: Any) -> list[Any]:
        return [type(xs) is list, sum(xs), sum(xs), len(list(xs))]

    twice.__annotations__["xs"] = annotation
    reducer = task(twice)

    @dag
    def reduced(n: int) -> list[Any]:
        return reducer([flows.square(x) for x in flows.numbers(n)])

    expected = sum(x * x for x in range(1_000))
    assert invoke(reduced, {"n": 1_000}) == [False, expected, expected, 1_000]


def test_a_reducer_that_asks_for_a_list_gets_one() -> None:
    @task
    def kind(xs: list[int]) -> str:
        return type(xs).__name__

    @dag
    def reduced(n: int) -> str:
        return kind([flows.square(x) for x in flows.numbers(n)])

    assert invoke(reduced, {"n": 2}) == "list"
