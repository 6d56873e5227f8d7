"""Two values are the same if all that travels of them is; what their classes say of equality is something else."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dagcelery import AsPickle, build, dag, invoke, task, when
from dagcelery.errors import InvalidDag
from dagcelery.model import DictOf, FromParam, Literal
from dagcelery.objects import same

from .vocabulary import numbers

P = AsPickle()


@dataclasses.dataclass(frozen=True)
class Noted:
    """Equal to all others of its number, whatever its note is."""

    number: int
    note: Any = dataclasses.field(default=None, compare=False)


class Alike:
    """Equal to everything."""

    def __init__(self, v: Any) -> None:
        self.v = v

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1

    def __call__(self, x: Any) -> Any:
        return [self.v, x]


@task(serializer=P)
def nums(n: int) -> list[int]:
    return list(range(n))


@task(serializer=P)
def see(value: Any, x: Any = None) -> Any:
    return repr(value.note if isinstance(value, Noted) else value.v if isinstance(value, Alike) else value)


@dag(static=("k",), serializer=P)
def shaped(n: int, k: Any) -> Any:
    return see(k, n)


PAIRS: list[tuple[Any, Any]] = [
    (1, True),
    ((1,), (True,)),
    ((1,), (1.0,)),
    (0.0, -0.0),
    ((0.0,), (-0.0,)),
    (frozenset({1}), frozenset({True})),
    (Noted(1, "a"), Noted(1, "b")),
    (Alike(1), Alike(2)),
    ([1], [True]),
    ({1: 0}, {True: 0}),
    ({"a": {1}}, {"a": {1.0}}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (pd.Series([1]), pd.Series([2])),
    (np.zeros(1), np.zeros(1) * -1),
]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=range(len(PAIRS)))
def test_a_static_parameter_that_is_equal_shapes_another_dag(one: Any, other: Any) -> None:
    assert invoke(shaped, {"n": 0, "k": one}) == see.fn(one, 0)
    assert invoke(shaped, {"n": 0, "k": other}) == see.fn(other, 0)
    assert not same(one, other)


CONSTANT = [float("nan"), (1, 2.0), ("a", (b"b", None)), frozenset("a")]


@pytest.mark.parametrize("value", CONSTANT, ids=repr)
def test_a_dag_is_built_once_for_a_static_value(value: Any) -> None:
    assert shaped.__dag__(k=value) is shaped.__dag__(k=copy.deepcopy(value))


def test_a_body_that_changes_a_static_value_runs_each_time() -> None:
    @dag(static=("known",), serializer=P)
    def counting(n: int, known: dict[str, int]) -> Any:
        known["k"] += 1
        return see(known["k"], n)

    @dag(serializer=P)
    def outer(n: int) -> Any:
        known = {"k": 1}
        return [counting(n, known), counting(n, known)]

    known = {"k": 1}
    assert [counting.invoke(0, known), counting.invoke(0, known)] == ["2", "3"]
    assert outer.invoke(0) == outer(0) == ["2", "3"]


@pytest.mark.parametrize(
    "make",
    [
        lambda i: Noted(1, i),
        lambda i: Alike(i),
        lambda i: [Noted(1, i)],
        lambda i: (0.0 if i else -0.0,),
        lambda i: {Alike(i)},
    ],
    ids=["field that is not compared", "always equal", "in a list", "zeros", "in a set"],
)
def test_what_differs_from_element_to_element_is_noticed_though_it_is_equal(make: Callable[[int], Any]) -> None:
    def numbered(n: int) -> Any:
        return [see(make(i), x) for i, x in enumerate(nums(n))]

    def counted(n: int) -> Any:
        xs, made = nums(n), []
        for x in xs:
            made.append(x)
            see(x)
        return see([make(len(made))])

    def nested(n: int) -> Any:
        return [shaped(x, make(i)) for i, x in enumerate(nums(n))]

    def branched(n: int) -> Any:
        return [when(x, then=lambda i=i, x=x: see(make(i), x)) for i, x in enumerate(nums(n))]  # type: ignore[misc]

    for body in (numbered, counted, nested, branched):
        with pytest.raises(InvalidDag, match=r"differs from one to the next|depends on how many"):
            dag(serializer=P)(body).__dag__()


def as_text(x: int) -> str:
    return str(x)


@dataclasses.dataclass(eq=True)
class Adder:
    """A task may be an object, which is equal to others."""

    by: int = dataclasses.field(compare=False)

    def __call__(self, x: int) -> int:
        return x + self.by


def test_tasks_that_are_equal_are_two_if_they_hold_other_values() -> None:
    @dag(serializer=P)
    def d(n: int) -> Any:
        return [task(serializer=P)(Adder(i))(x) for i, x in enumerate(nums(n))]

    @dag(serializer=P)
    def alike(n: int) -> Any:
        return [task(serializer=P)(Adder(5))(x) for x in nums(n)]

    @dag(static=("k",), serializer=P)
    def inner(x: int, k: int) -> Any:
        return task(serializer=P)(Adder(k))(x)

    @dag(serializer=P)
    def nested(n: int) -> Any:
        return [inner(x, i) for i, x in enumerate(nums(n))]

    @dag(serializer=P)
    def written(n: int) -> Any:
        return [task(serializer=Tagged(str(i)))(as_text)(x) for i, x in enumerate(nums(n))]

    for differing in (d, nested, written):
        with pytest.raises(InvalidDag, match="with other options"):
            differing.invoke(2)
    assert alike.invoke(2) == [5, 6]


def test_what_is_the_same_for_each_element_is_no_difference_though_it_is_made_anew() -> None:
    class Plain:
        def __init__(self, v: Any) -> None:
            self.v = v

        def __repr__(self) -> str:
            return f"Plain({self.v})"

    @dag(serializer=P)
    def d(n: int) -> Any:
        made = [
            see([Plain({"b", "a"}), lambda: n and 0], x) if False else see(Plain([1.5, float("nan")]), x)
            for x in nums(n)
        ]
        return [made, [apply(lambda y: y + 1, x) for x in nums(n)], [see(pd.Series([1]), x) for x in nums(n)]]

    @task(serializer=P)
    def apply(f: Any, x: int) -> int:
        return f(x)

    found = d.invoke(2)
    assert found[:2] == [["Plain([1.5, nan])"] * 2, [1, 2]]


def test_equal_literals_of_two_calls_stay_two() -> None:
    @dag(serializer=P)
    def d() -> Any:
        return [see(1), see(True), see(1.0), see((1,)), see((True,)), see(Noted(1, "a")), see(Noted(1, "b")), see(-0.0)]

    @task(dynamic=True, serializer=P)
    def grown() -> Any:
        return [see({(1,): nums(1)}), see({(True,): nums(1)}), see({0.0: nums(1)}), see({-0.0: nums(1)})]

    assert d.invoke() == d()
    assert grown.invoke() == grown()
    assert grown.invoke() == ["{(1,): [0]}", "{(True,): [0]}", "{0.0: [0]}", "{-0.0: [0]}"]


@pytest.mark.parametrize(
    "value", [Alike(1), pd.DataFrame({"a": [1]}), np.zeros(2)], ids=["always equal", "frame", "array"]
)
def test_a_returned_literal_is_not_taken_for_none(value: Any) -> None:
    @dag(serializer=P)
    def inner(n: int) -> Any:
        nums(n)
        return value

    @dag(serializer=P)
    def outer(n: int) -> Any:
        return [see(inner(n)), when(n, then=lambda: kept(nums(n)), otherwise=lambda: value)]

    @task(serializer=P)
    def kept(x: Any) -> Any:
        return x

    first, chosen = outer.invoke(0)
    assert first == see.fn(value)
    assert type(chosen) is type(value)
    assert type(inner.invoke(1)) is type(value)


def test_sources_are_equal_if_their_values_are_the_same() -> None:
    assert Literal(1) == Literal(1) != Literal(True)
    assert Literal([Noted(1, "a")]) == Literal([Noted(1, "a")]) != Literal([Noted(1, "b")])
    assert FromParam("x", default_value=1) == FromParam("x", default_value=1) != FromParam("x", default_value=1.0)
    assert DictOf(((1, Literal(0)),)) != DictOf(((True, Literal(0)),))
    assert len({Literal(1), Literal(1), FromParam("x"), FromParam("x"), DictOf(()), DictOf(())}) == 3


class Tagged:
    """A serializer that is equal to others of its kind, and writes something else."""

    extension = "txt"

    def __init__(self, tag: str) -> None:
        self.tag = tag

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tagged)

    def __hash__(self) -> int:
        return 1

    def serialize(self, value: Any, writer: Any) -> None:
        writer.write(f"{self.tag}{value}".encode())

    def deserialize(self, reader: Any) -> Any:
        return reader.read().decode().removeprefix(self.tag)


def test_serializers_that_are_equal_are_two_if_they_hold_other_values() -> None:
    one, other = task(serializer=Tagged("a"))(lambda n: f"a{n}"), task(serializer=Tagged("b"))(lambda n: f"a{n}")

    @dag(serializer=P)
    def d(n: int) -> Any:
        return [one(n), other(n)]

    assert d.invoke(1) == ["1", "a1"] or d.invoke(1) == ["a1", "a1"]
    assert len({str(codec.get("live").tag) for codec in _codecs(d) if "live" in codec}) == 2


def _codecs(d: Any) -> Any:
    from dagcelery.planner.compile import plan

    return plan(d.__dag__()).codecs


@task
def least(x: int, y: int) -> int:
    return min(x, y)


def test_ints_of_more_digits_than_python_writes_are_compared_and_named() -> None:
    huge = 10**5000

    @dag
    def in_each(n: int) -> Any:
        return [least(x, huge) for x in numbers(n)]

    @dag
    def as_keys(n: int) -> Any:
        return {huge: least(n, 1), huge + 1: least(n, 0)}

    assert in_each.invoke(n=2) == [0, 1]
    assert len(build(as_keys).outputs) == 2
