"""An output stands for a value without being one: what needs the value is refused, with a remedy."""

from __future__ import annotations

import copy
import operator
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional import DagFunction, build, dag
from dagcelery.model import FromProperty, FromReturnValue

from .vocabulary import add, named_halves, numbers, same, square


def body(use: Callable[[Any], object]) -> DagFunction[..., Any]:
    @dag
    def d(n: int) -> Any:
        out = square(n)
        use(out)
        return out

    return d


USES: dict[str, tuple[Callable[[Any], object], str]] = {
    "equal": (lambda out: out == 4, "compared"),
    "unequal": (lambda out: out != 4, "compared"),
    "less": (lambda out: out < 4, "compared"),
    "index": (operator.index, "not a number"),
    "int": (int, "not a number"),
    "float": (float, "not a number"),
    "in": (lambda out: 3 in out, "'in'"),
    "format": (lambda out: "{:>3}".format(out), "f-string"),  # noqa: UP032
    "str": (str, "not text"),
    "percent": (lambda out: "%s" % out, "not text"),  # noqa: UP031
    "added": (lambda out: 1 + out, "compute in a task"),
    "text added": (lambda out: "a" + out, "compute in a task"),
    "negative": (lambda out: -out, "compute in a task"),
    "power": (lambda out: out**2, "compute in a task"),
    "divmod": (lambda out: divmod(7, out), "compute in a task"),
    "call": (lambda out: out(), "cannot be called"),
    "key that is an output": (lambda out: out[out], "key that is an output"),
    "reversed": (reversed, "reverse it in a task"),
    "sum": (lambda out: sum(out), "compute in a task"),
    "path": (os.fspath, "not a path"),
    "with": (lambda out: out.__enter__(), "'with'"),
    "set property": (lambda out: setattr(out, "x", 1), "cannot be given the property 'x'"),
    "set key": (lambda out: operator.setitem(out, "x", 1), "cannot be given a key"),
    "dunder": (lambda out: out.__name__, "__name__"),
    "pickle": (pickle.dumps, "should travel as a literal"),
}


@pytest.mark.parametrize("use", USES)
def test_what_needs_the_value_is_refused_by_the_name_of_its_node(use: str) -> None:
    do, message = USES[use]
    with pytest.raises(InvalidDag, match=f"'square'(?s:.*){message}"):
        build(body(do))


@pytest.mark.parametrize("do", [repr, hash, copy.copy, copy.deepcopy])
def test_what_needs_no_value_works(do: Callable[[Any], object]) -> None:
    assert build(body(do))


def test_the_repr_says_what_it_stands_for() -> None:
    said: list[str] = []

    @dag
    def d(n: int) -> Any:
        out: Any = square(n)
        said.extend(map(repr, [n, out["a"].b[0], *list(out)[:1]]))
        return out

    build(d)
    assert said[:3] == [
        "<parameter 'n'>",
        "<the output of 'square'['a'].b[0]>",
        "<an element of the output of 'square'>",
    ]


def test_every_plain_attribute_is_the_users_property() -> None:
    @dag
    def d(n: int) -> Any:
        pair: Any = named_halves(n)
        return same([pair.train, pair.after, pair.name, pair._replace])

    outputs = build(d).nodes["named_halves"].outputs
    assert list(outputs.values()) == [
        FromProperty("train"),
        FromProperty("after"),
        FromProperty("name"),
        FromProperty("_replace"),
    ]


def test_a_named_tuple_is_unpacked_by_position() -> None:
    @dag
    def d(n: int) -> Any:
        train, test = named_halves(n)
        return add(train, test)

    assert list(build(d).nodes["named_halves"].outputs) == ["key_0", "key_1"]


def test_list_of_an_output_goes_through_it() -> None:
    @dag
    def d(n: int) -> Any:
        return [square(x) for x in list(numbers(n))]

    assert build(d).nodes["numbers"].outputs == {"return_value": FromReturnValue(is_partitioned=True)}


def test_an_output_of_the_outer_body_does_not_slip_into_the_inner_one() -> None:
    @dag
    def outer(n: int) -> Any:
        known = square(n)

        @dag
        def inner(x: int) -> Any:
            return add(x, known)

        return inner(n)

    with pytest.raises(InvalidDag, match="pass it to this one as an argument"):
        build(outer)
