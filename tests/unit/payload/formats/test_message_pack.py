"""MessagePack carries what JSON does, and bytes and keys that are no text."""

from __future__ import annotations

import collections
import datetime
import enum
import math
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagcelery import AsMessagePack
from dagcelery.errors import DeserializationError, SerializationError
from dagcelery.payload.codecs import codec_for
from dagcelery.payload.formats import is_same
from dagcelery.payload.lazy import LazyList

from .files import broken, carried, damaged, patient, peak_of_writing, read, read_or_refuse, written

msgpack = pytest.importorskip("msgpack", reason="pip install 'dagcelery[msgpack]'")
plain = AsMessagePack()


class Colour(enum.IntEnum):
    RED = 1


class Point(NamedTuple):
    x: int


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=20)
)
values = st.recursive(
    scalars, lambda inner: st.floats() | st.lists(inner) | st.dictionaries(scalars, inner), max_leaves=30
)


@given(values)
@patient
def test_what_goes_in_comes_out(value: Any) -> None:
    assert is_same(value, carried(plain, value))


@given(st.lists(values, max_size=8))
@settings(patient, max_examples=50)
def test_many_values_travel_together(many: list[Any]) -> None:
    codec = codec_for(plain)
    assert is_same(many, codec.load_many(codec.dump_many(many), len(many)))


def test_tuples_and_lazy_lists_come_back_as_lists() -> None:
    value = {"a": (1, (2,)), "b": LazyList(3, range), "c": {"d": {"e": {"f": (LazyList(2, range),)}}}}
    back = {"a": [1, [2]], "b": [0, 1, 2], "c": {"d": {"e": {"f": [[0, 1]]}}}}
    assert carried(plain, value) == back


REFUSED: list[tuple[Any, str]] = [
    ({1, 2}, "the value: is of type set"),
    (object(), "is of type object, which MessagePack does not have"),
    (Colour.RED, "Colour, which would come back as a plain int"),
    ([Point(1)], r"at \[0\]: is of type .*Point, which would come back as a plain list"),
    (collections.OrderedDict(a=1), "OrderedDict, which would come back as a plain dict"),
    (bytearray(b"a"), "which would come back as a plain bytes"),
    (memoryview(b"a"), "which would come back as a plain bytes"),
    (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "is of type datetime.datetime"),
    ({"a": [0, {"b": 2**64}]}, r"at \['a'\]\[1\]\['b'\]: is an int of more than 64 bits"),
    ([[[[[-(2**63) - 1]]]]], r"at \[0\]\[0\]\[0\]\[0\]\[0\]: is an int"),
    ({(1, 2): 3}, r"has the key \(1, 2\) of type tuple"),
    ([[[{(1,): 3}]]], r"at \[0\]\[0\]\[0\]: has the key"),
    ("\ud800", "a lone surrogate"),
    ({"\ud800": 1}, "a lone surrogate"),
    (msgpack.ExtType(1, b"a"), "ExtType"),
    (msgpack.Timestamp(1), "Timestamp"),
]


@pytest.mark.parametrize(("value", "told"), REFUSED, ids=[told[-30:] for _, told in REFUSED])
def test_what_would_change_is_refused_with_its_place_and_a_remedy(value: Any, told: str) -> None:
    with pytest.raises(SerializationError, match=told) as caught:
        written(plain, value)
    assert caught.value.remedy


def test_what_contains_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(SerializationError, match="contains itself"):
        written(plain, circle)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_nan_and_infinities_travel_unless_they_are_not_allowed(number: float) -> None:
    assert is_same(number, carried(plain, number))
    with pytest.raises(SerializationError, match=r"the value at \['a'\].*AsMessagePack\(allow_nan=True\)"):
        written(AsMessagePack(allow_nan=False), {"a": number})


@pytest.mark.parametrize(
    "packed",
    [
        msgpack.ExtType(5, b"abc"),
        [msgpack.ExtType(5, b"abc")],
        msgpack.Timestamp(1),
        {"a": [[], [{"b": msgpack.Timestamp(1, 5)}]]},
        {msgpack.Timestamp(2**33): 1},
    ],
    ids=repr,
)
def test_extension_types_of_others_are_not_read(packed: Any) -> None:
    with pytest.raises(DeserializationError, match="extension type"):
        read(plain, msgpack.packb(packed))


BAD = {
    "nothing": b"",
    "a code that there is not": b"\xc1",
    "a list that ends early": b"\x92\x01",
    "a list that claims four billion elements": b"\xdd\xff\xff\xff\xff\x01",
    "a text that is no UTF-8": b"\xa1\xff",
    "a key that is a list": b"\x81\x90\x01",
    "two values": b"\x01\x02",
    "too many levels": b"\x91" * 5000 + b"\x01",
}


@pytest.mark.parametrize("name", BAD)
def test_bytes_that_hold_no_value_are_refused(name: str) -> None:
    with pytest.raises(DeserializationError, match="the input"):
        codec_for(plain).load(BAD[name], "the input")


@given(broken)
@settings(patient, max_examples=100)
def test_damaged_bytes_raise_our_error_only(how: tuple[str, int, int]) -> None:
    data = written(plain, {"rows": [{"a": 1, "b": [1.5, None, b"x"]}] * 5, "name": "é" * 40})
    read_or_refuse(plain, damaged(data, how))


def test_a_large_value_is_written_bit_by_bit() -> None:
    rows = LazyList(30_000, lambda lo, hi: ({"n": n, "text": f"{n:08d}" * 20} for n in range(lo, hi)))
    peak, size = peak_of_writing(plain, rows)
    assert size > 5_000_000
    assert peak < size / 5
