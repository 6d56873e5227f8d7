"""Arguments that differ in anything have different fingerprints, and the same ones have the same in every process."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagcelery.payload.fingerprints import fingerprint, fingerprint_captures
from dagcelery.payload.lazy import LazyList

DIFFERENT: list[Any] = [
    None,
    0,
    0.0,
    -0.0,
    False,
    "",
    b"",
    "0",
    [],
    (),
    {},
    set(),
    frozenset(),
    [0],
    (0,),
    [[0]],
    [[0], []],
    [[], [0]],
    ["ab", "c"],
    ["a", "bc"],
    {"a": 1, "b": 2},
    {"b": 2, "a": 1},
    {"a": 1},
    {1: "a"},
    {1, 2},
    {"a": [1], "b": ()},
    10**30,
    float("inf"),
    complex(1, 2),
    range(3),
]


@dataclasses.dataclass
class Config:
    seed: int


def test_values_that_differ_have_different_fingerprints() -> None:
    for one, other in itertools.combinations(DIFFERENT, 2):
        assert fingerprint({"x": one}) != fingerprint({"x": other}), (one, other)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=60)
@given(plain, plain)
def test_plain_values_have_the_same_fingerprint_if_they_read_the_same(one: Any, other: Any) -> None:
    assert (fingerprint({"x": one}) == fingerprint({"x": other})) == (repr(one) == repr(other))


def test_which_objects_are_the_same_does_not_count() -> None:
    word = "".join(["wo", "rd"])
    assert fingerprint({"x": [word, word, {"k": word}]}) == fingerprint({"x": ["word", "wo" + "rd", {"k": "word"}]})


def test_names_of_arguments_count_and_their_order_does_not() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1, "b": 2}) != fingerprint({"a": 2, "b": 1})
    assert fingerprint({}) != fingerprint({"": None})


def test_other_objects_are_told_by_their_pickle() -> None:
    assert fingerprint({"x": Config(1)}) == fingerprint({"x": Config(1)})
    assert fingerprint({"x": Config(1)}) != fingerprint({"x": Config(2)})
    assert fingerprint({"x": [Config(1)]}) != fingerprint({"x": Config(1)})


def test_a_lazy_list_is_told_by_its_elements() -> None:
    def lazy(*items: int) -> LazyList[int]:
        return LazyList(len(items), lambda lo, hi: items[lo:hi])

    assert fingerprint({"x": lazy(1, 2)}) == fingerprint({"x": lazy(1, 2)})
    assert fingerprint({"x": lazy(1, 2)}) != fingerprint({"x": lazy(1, 3)})


@pytest.mark.parametrize("value", [threading.Lock(), [lambda: 1], "deep"], ids=["lock", "lambda", "deep"])
def test_what_cannot_be_told_has_none(value: Any) -> None:
    if value == "deep":
        for _ in range(100_000):
            value = [value]
    assert fingerprint({"x": value}) is None


def test_every_process_says_the_same() -> None:
    value = {"words": {"a", "b", "c"}, "more": frozenset({("x", 1), ("y", 2)})}
    code = f"from dagcelery.payload.fingerprints import fingerprint; print(fingerprint({{'x': {value!r}}}).hex())"
    seeds = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "2")
    ]
    assert {done.stdout for done in seeds} == {f"{fingerprint({'x': value}).hex()}\n".encode()}  # type: ignore[union-attr]


# -- what functions hold -------------------------------------------------------------------------
COUNT = [0]


def adder(by: Any) -> Any:
    def inner(x: int) -> int:
        return x + by + COUNT[0]

    return inner


def outer(by: int) -> Any:
    inner = adder(by)
    return lambda x: inner(x)


def with_default(config: Config) -> Any:
    def configured(x: int, config: Config = config) -> int:
        return x + config.seed

    return configured


def plain_function() -> None: ...


HOLDING = {
    "a captured variable": adder,
    "a variable captured by a captured function": outer,
    "a default": lambda by: with_default(Config(by)),
    "a partial's argument": lambda by: functools.partial(plain_function, Config(by)),
    "a method's object": lambda by: Config(by).__repr__,
    "the state of an object": Config,
}


@pytest.mark.parametrize("kind", HOLDING)
def test_functions_that_hold_something_else_differ(kind: str) -> None:
    make = HOLDING[kind]
    assert fingerprint_captures(make(1)) == fingerprint_captures(make(1)) != fingerprint_captures(make(2))
    assert fingerprint_captures(make(1)) is not None


def test_globals_do_not_count() -> None:
    before = fingerprint_captures(adder(1))
    COUNT[0] += 1
    assert fingerprint_captures(adder(1)) == before


def test_a_function_may_hold_itself_and_modules() -> None:
    def again(n: int) -> int:
        return again(n - 1) if n else len(sys.modules)

    assert fingerprint_captures(again) is not None
    assert fingerprint_captures(plain_function) is not None
    assert fingerprint_captures(len) != fingerprint_captures(max)


def test_what_cannot_be_told_of_a_function_makes_it_untold() -> None:
    assert fingerprint_captures(adder(threading.Lock())) is None


class Box:
    def __init__(self, held: Any) -> None:
        self.held = held

    def get(self) -> Any:
        return self.held


def test_the_order_of_sets_and_the_identity_of_texts_in_an_object_do_not_count() -> None:
    one, other = Box([{8, 16, 0}, "text", "text"]), Box([{0, 16, 8}, "text", "".join(["te", "xt"])])
    assert fingerprint({"x": one}) == fingerprint({"x": other})
    assert fingerprint({"x": one}) != fingerprint({"x": Box([{0, 16, 9}, "text", "text"])})


def test_what_a_built_in_method_is_bound_to_counts() -> None:
    one, other = {"a": 1}.get, {"a": 2}.get
    assert fingerprint_captures(one) == fingerprint_captures({"a": 1}.get) != fingerprint_captures(other)
    assert fingerprint_captures(len) is not None


def test_which_of_several_functions_is_called_in_a_circle_counts() -> None:
    def pair(is_first_called: bool) -> Any:
        def first() -> Any:
            return second()

        def second() -> Any:
            return called()

        called = first if is_first_called else second
        return first

    assert fingerprint_captures(pair(True)) == fingerprint_captures(pair(True)) != fingerprint_captures(pair(False))
