"""Any value can be shown: in few characters, and without an error of its own."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery.text import shown, word


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Endless:
    def __repr__(self) -> str:
        return repr([self])


class Huge:
    def __repr__(self) -> str:
        return "x" * 1_000_000


class NoText:
    def __repr__(self) -> Any:
        return 5


class list(list):  # type: ignore[type-arg]
    """A class of the user's with a name that Python's own reprlib takes for its own."""

    def __iter__(self) -> Any:
        raise RuntimeError("no")


def circle() -> Any:
    one: Any = []
    one.append({"again": one})
    return one


def deep() -> Any:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    return value


STRANGE: Any = {
    "an int": (10**5000, "<int of about 5,001 digits>"),
    "a negative int": (-(10**5000), "<negative int of about 5,001 digits>"),
    "an int within": ({"a": [(10**5000,)]}, "{'a': [(<int of about 5,001 digits>,)]}"),
    "an int that is a key": ({10**5000: 1}, "{<int of about 5,001 digits>: 1}"),
    "a broken repr": (Broken(), "<Broken>"),
    "a broken repr within": ([Broken(), {"a": Broken()}], "[<Broken>, {'a': <Broken>}]"),
    "an endless repr": (Endless(), "<Endless>"),
    "a repr that is no text": (NoText(), "<NoText>"),
    "a circle": (circle(), None),
    "a deep one": (deep(), None),
    "many": (range(3), "range(0, 3)"),
    "a long list": ([1] * 10**6, None),
    "a long dict": (dict.fromkeys(range(10**5)), None),
    "a long text": ("x" * 10**7, None),
    "a huge repr": (Huge(), None),
    "a class like a builtin": (list(), "[]"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_value_is_shown_in_few_characters(kind: str) -> None:
    value, expected = STRANGE[kind]
    assert len(shown(value)) <= 200
    assert len(shown(value, 20)) <= 20
    if expected is not None:
        assert shown(value) == expected


@pytest.mark.parametrize(
    "value", [1, -1, True, None, 1.5, "a'b", b"x", [], (), (1,), {}, {"b": 1, "a": [2, ()]}, {3}, frozenset(), int, ...]
)
def test_an_ordinary_value_is_shown_as_its_repr(value: Any) -> None:
    assert shown(value) == repr(value)


def test_a_word_is_shown_without_quotes_and_anything_else_as_it_is_shown() -> None:
    assert (word("a b"), word(10**5000), word(None)) == ("a b", "<int of about 5,001 digits>", "None")
