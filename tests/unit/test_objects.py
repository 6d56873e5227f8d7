"""Copies of objects as they are now, and what tells one object from another."""

from __future__ import annotations

import functools
import pickle
import threading
from typing import Any

import numpy as np
import pytest

from dagcelery.objects import Copies, Hidden, copied, identity, listed, same


class Box:
    def __init__(self, v: Any) -> None:
        self.v = v


class Secret:
    """Must not be held by others."""


def counter(start: int) -> Any:
    known = [start]

    def count() -> list[int]:
        known[0] += 1
        return known

    return count


def test_a_copy_does_not_change_with_what_it_was_made_of() -> None:
    array, count = np.zeros(3), counter(0)
    box = Box([array, count, {"in": Box(1)}])
    found = copied(box)
    array[0], box.v[2]["in"].v = 7, 2
    count()
    assert list(found.v[0]) == [0, 0, 0]
    assert found.v[1]() == [1]
    assert found.v[2]["in"].v == 1
    found.v[0][1] = 5
    assert list(array) == [7, 0, 0]


def test_a_copy_has_the_shape_of_what_it_was_made_of() -> None:
    row: list[Any] = [1]
    row.append(row)
    shared = Box(row)
    found = copied([shared, shared, Box, len, threading, test_a_copy_has_the_shape_of_what_it_was_made_of])
    assert found[0] is found[1] is not shared
    assert found[0].v[1] is found[0].v
    assert found[2:] == [Box, len, threading, test_a_copy_has_the_shape_of_what_it_was_made_of]


def test_a_copied_function_says_of_itself_what_the_first_one_said() -> None:
    by = [2]

    @functools.wraps(counter)
    def times(x: int, *, y: int = 1) -> int:
        """Multiply."""
        return x * y * by[0]

    found = copied(times)
    by[0] = 3
    assert (found(2, y=5), times(2)) == (20, 6)
    assert found.__annotations__ == times.__annotations__
    assert found.__wrapped__ is counter  # type: ignore[attr-defined]
    assert (found.__name__, found.__module__, found.__doc__) == (times.__name__, times.__module__, times.__doc__)


def test_what_cannot_be_copied_says_why() -> None:
    with pytest.raises(TypeError, match="lock"):
        copied(Box(threading.Lock()))


def test_elements_are_what_they_were_when_they_were_given() -> None:
    def changing() -> Any:
        known = [0]
        for known[0] in range(3):
            yield known

    assert listed(changing()) == [[0], [1], [2]]


def test_an_object_that_has_not_changed_is_copied_once() -> None:
    copies, box = Copies(Secret), Box(np.zeros(10))
    first = copies.take(box)
    copies.outdate()
    assert copies.take(box) is first
    box.v[3] = 1
    assert copies.take(box) is first  # nobody said that it may have changed
    copies.outdate()
    second = copies.take(box)
    assert (second.v[3], first.v[3]) == (1, 0)
    with pytest.raises(Hidden) as hidden:
        copies.take(Box([secret := Secret()]))
    assert hidden.value.value is secret


def test_functions_are_the_same_if_code_and_captures_are() -> None:
    assert same(counter(1), counter(1))
    assert not same(counter(1), counter(2))
    assert same(functools.partial(len, [1]), functools.partial(len, [1]))
    assert not same(functools.partial(len, [1]), functools.partial(len, [True]))
    assert not same(counter, same)


def test_classes_are_the_same_by_themselves_and_not_by_their_names() -> None:
    def made() -> type:
        class Local:
            pass

        return Local

    one, other = made(), made()
    assert not same(one(), other())
    assert same(one(), one())
    assert identity({"c": one}) == identity({"c": one}) != identity({"c": other})


class Halves:
    """Its large parts travel beside its pickle, and say nothing of their lengths."""

    def __init__(self, one: bytes, other: bytes) -> None:
        self.parts = one, other

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Halves, tuple(map(pickle.PickleBuffer, self.parts))


def test_where_one_large_part_ends_and_the_next_begins_counts() -> None:
    assert same(Halves(b"ab", b"c"), Halves(b"ab", b"c"))
    assert not same(Halves(b"ab", b"c"), Halves(b"a", b"bc"))
