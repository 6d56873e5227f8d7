"""JSON gives back what it was given, or refuses it and says where and why."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import math
from typing import Any, NamedTuple

import numpy
import pandas
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagcelery.errors import SerializationError
from dagcelery.payload.codecs import AsJSON, codec_for
from dagcelery.skipped import Skipped

codec = codec_for(AsJSON())
indented = codec_for(AsJSON(indent=2))


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 1


class Mood(enum.StrEnum):
    GOOD = "good"


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Record:
    x: int


class Metres(float):
    pass


class Day(datetime.date):
    pass


class Price(decimal.Decimal):
    pass


class Name(str):
    __slots__ = ()


def same(left: Any, right: Any) -> bool:
    """Equal, of equal types all the way down; a tuple may have become a list."""
    if isinstance(left, tuple) and type(left) is tuple:
        left = list(left)
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(
            type(key) is type(other) and same(left[key], right[other]) for key, other in zip(left, right, strict=True)
        )
    return bool(left == right and repr(left) == repr(right))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)
strange = (
    st.floats()
    | st.text(st.characters(categories=["Cs", "Ll"]))
    | st.sampled_from([Colour.RED, Size.BIG, Mood.GOOD, Point(1, 2), Metres(1), Name("n"), b"", {1}, 1j, object])
)
keys: st.SearchStrategy[Any] = st.text() | st.integers() | st.sampled_from([Size.BIG, Mood.GOOD, None, True, 1.5])
anything = st.recursive(
    plain | strange,
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(keys, inner) | st.tuples(inner),
    max_leaves=20,
)


@settings(max_examples=60)
@given(plain)
def test_json_values_come_back_unchanged(value: Any) -> None:
    assert same(value, codec.load(codec.dump(value)))
    assert same(value, indented.load(indented.dump(value)))


@settings(max_examples=40)
@given(st.lists(plain, max_size=10))
def test_many_values_come_back_unchanged(values: list[Any]) -> None:
    assert same(values, codec.load_many(codec.dump_many(values), len(values)))


@settings(max_examples=60)
@given(anything)
def test_any_value_comes_back_unchanged_or_is_refused(value: Any) -> None:
    try:
        data = codec.dump(value)
    except SerializationError:
        return
    assert same(value, codec.load(data))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Colour.RED, "Colour.RED.value"),
        (Size.BIG, "Size.BIG.value"),
        (Mood.GOOD, "Mood.GOOD.value"),
        (Point(1, 2), "_asdict"),
        (Metres(1), r"float\(value\)"),
        (Name("n"), r"str\(value\)"),
        (collections.OrderedDict(a=1), r"dict\(value\)"),
        ({1, 2}, "sorted"),
        (b"x", "base64"),
        (Day(2024, 1, 2), "a plain datetime.date"),
        (Price("1.5"), "a plain decimal.Decimal"),
        (pandas.Timestamp(0), "a plain datetime.datetime"),
        (pandas.DataFrame({"a": [1]}), r"Annotated\[pd.DataFrame, AsParquet\(\)\]"),
        (pandas.Series([1]), "AsParquet"),
        (pyarrow.table({"a": [1]}), r"Annotated\[pa.Table, AsArrow\(\)\]"),
        (numpy.arange(3), r"value.tolist\(\)"),
        (numpy.float32(1), r"value.tolist\(\)"),
        (Record(1), "asdict"),
        (iter([1]), r"list\(value\)"),
        (math.nan, "allow_nan"),
        (math.inf, "allow_nan"),
        ({1: 2}, "use str keys"),
        ({None: 2}, "use str keys"),
        ({(1, 2): 2}, "only str keys"),
        ({Mood.GOOD: 2}, "use str keys"),
        ("\ud83d", "surrogate"),
        ({"\ud83d": 1}, "surrogate"),
        pytest.param(10**5000, "digits", id="an int of 5000 digits"),
    ],
)
def test_what_would_change_is_refused_with_a_remedy(value: object, told: str) -> None:
    with pytest.raises(SerializationError, match=told):
        codec.dump(value)


def test_a_refusal_names_the_path_to_the_culprit() -> None:
    with pytest.raises(SerializationError) as caught:
        codec.dump({"a": [0, 1, 2, {"b": Size.BIG}]}, "the result of fit")
    assert caught.value.culprit == "the result of fit at ['a'][3]['b']"


def test_a_refusal_among_many_names_the_index_in_the_whole_list() -> None:
    with pytest.raises(SerializationError) as caught:
        codec.dump_many([1, {"a": {2}}], "the list", lo=512)
    assert caught.value.culprit == "the list at [513]['a']"


def test_a_culprit_deep_in_a_long_list_is_found() -> None:
    rows = [{"a": index, "b": [index]} for index in range(1000)]
    rows[700]["b"] = [1, Size.BIG]
    with pytest.raises(SerializationError) as caught:
        codec.dump(rows)
    assert caught.value.culprit == "the value at [700]['b'][1]"


@pytest.mark.parametrize("json", [codec, indented], ids=["compact", "indented"])
def test_what_was_skipped_comes_back_among_others(json: Any) -> None:
    skipped = Skipped("fit[3]", "ValueError", 'no "dagcelery.Skipped": [1]')
    for value in (skipped, [1, skipped], {"a": [[skipped] * 20], "b": skipped.message}):
        assert json.load(json.dump(value)) == value


def test_what_only_looks_like_something_skipped_is_left_alone() -> None:
    own = [{"dagcelery.Skipped": ["a", "b", "c"]}]
    assert codec.load(codec.dump(own)) == own
    for text in (
        b'{"dagcelery.Skipped":[1,2,3]}',
        b'{"dagcelery.Skipped":["a","b","c"],"d":1}',
        b'"dagcelery.Skipped"',
    ):
        assert not isinstance(codec.load(text), Skipped)


def test_nan_is_allowed_where_it_was_asked_for() -> None:
    loose = codec_for(AsJSON(allow_nan=True))
    assert math.isnan(loose.load(loose.dump(math.nan)))


def test_where_nan_is_allowed_the_real_culprit_is_named() -> None:
    with pytest.raises(SerializationError, match="sorted"):
        codec_for(AsJSON(allow_nan=True)).dump([math.nan, {1}])


def test_a_broken_repr_does_not_hide_the_refusal() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(SerializationError, match="only str keys"):
        codec.dump({Broken(): 1})
