"""An item that was left out stands in lists as `Skipped`, wherever those are handed on; nobody is called with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from dagcelery import AsPickle, DagFunction, Skipped, dag, invoke, task

from .flows import add, numbers


@task(on_item_failure="skip")
def odd(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(f"{x} is even")
    return x


@task(on_item_failure="skip")
def odd_record(x: int) -> dict[str, Any]:
    return {"x": odd(x), "more": [x]}


@task
def double(x: int) -> int:
    return 2 * x


@task
def shown(x: Any) -> Any:
    """With each item that was skipped written as its address."""
    match x:
        case Skipped():
            return f"without {x.address}"
        case list():
            return [shown(each) for each in x]
        case dict():
            return {key: shown(each) for key, each in x.items()}
    return x


@task
def lazily_shown(xs: Iterable[Any]) -> list[Any]:
    return [shown(x) for x in xs]


@dag
def doubled_twice(x: int) -> int:
    return double(double(x))


@dag
def odd_below(n: int) -> list[int]:
    return [odd(x) for x in numbers(n)]


@dag
def element_wise(n: int) -> Any:
    return shown([add(double(odd(x)), x) for x in numbers(n)])


@dag
def by_part(n: int) -> Any:
    return shown([double(out["x"]) for out in [odd_record(x) for x in numbers(n)]])


@dag
def through_a_dag(n: int) -> Any:
    return shown([doubled_twice(odd(x)) for x in numbers(n)])


@dag
def out_of_a_dag(n: int) -> Any:
    return shown([odd_below(k) for k in numbers(n)])


@dag
def within_literals(n: int) -> Any:
    xs = [odd(x) for x in numbers(n)]
    return shown({"all": xs, "each": [double(x) for x in xs]})


@dag
def lazily(n: int) -> Any:
    return lazily_shown([double(odd(x)) for x in numbers(n)])


@dag(serializer=AsPickle())
def as_pickle(n: int) -> Any:
    return shown([double(odd(x)) for x in numbers(n)])


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (element_wise, ["without odd[0]", 3, "without odd[2]", 9]),
        (by_part, ["without odd_record[0]", 2, "without odd_record[2]", 6]),
        (through_a_dag, ["without odd[0]", 4, "without odd[2]", 12]),
        (
            out_of_a_dag,
            [
                [],
                ["without odd_below[1]/odd[0]"],
                ["without odd_below[2]/odd[0]", 1],
                ["without odd_below[3]/odd[0]", 1, "without odd_below[3]/odd[2]"],
            ],
        ),
        (
            within_literals,
            {"all": ["without odd[0]", 1, "without odd[2]", 3], "each": ["without odd[0]", 2, "without odd[2]", 6]},
        ),
        (lazily, ["without odd[0]", 2, "without odd[2]", 6]),
        (as_pickle, ["without odd[0]", 2, "without odd[2]", 6]),
    ],
    ids=lambda each: each.__name__ if isinstance(each, DagFunction) else "",
)
def test_what_was_skipped_is_seen_in_its_place(node: DagFunction[..., Any], expected: Any) -> None:
    assert invoke(node, {"n": 4}) == expected


def test_a_list_of_which_nothing_is_left_is_as_long_as_ever() -> None:
    assert invoke(lazily, {"n": 1}) == ["without odd[0]"]
    assert invoke(lazily, {"n": 0}) == []
