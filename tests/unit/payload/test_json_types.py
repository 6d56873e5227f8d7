"""Dates, times, Decimal and UUID travel in JSON and come back exactly; a user's dict is never taken for one of them."""

from __future__ import annotations

import datetime
import uuid
from datetime import timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcelery import AsPickle, dag, task
from dagcelery.errors import DeserializationError, SerializationError
from dagcelery.payload.codecs import AsJSON, codec_for
from dagcelery.payload.lazy import LazyList
from dagcelery.skipped import Skipped

codec = codec_for(AsJSON())
indented = codec_for(AsJSON(indent=1))
BERLIN = ZoneInfo("Europe/Berlin")

EXACT: list[Any] = [
    datetime.date(1, 1, 1),
    datetime.date(2024, 2, 29),
    datetime.datetime(2024, 1, 2, 3, 4, 5, 6),
    datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999),
    datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    datetime.datetime(2024, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime.datetime(2024, 1, 2, tzinfo=timezone(timedelta(seconds=-3723, microseconds=7))),
    datetime.datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=1), "CET")),
    datetime.datetime(2024, 7, 2, 12, tzinfo=BERLIN),
    datetime.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
    datetime.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
    datetime.datetime(2024, 10, 27, 2, 30, fold=1),
    datetime.time(1, 2, 3, 4),
    datetime.time(1, tzinfo=datetime.UTC),
    datetime.time(1, tzinfo=BERLIN, fold=1),
    timedelta(days=-1, microseconds=1),
    timedelta.max,
    Decimal("1.10"),
    Decimal("-0"),
    Decimal("1E+400"),
    Decimal("NaN"),
    Decimal("-Infinity"),
    Decimal(1) / Decimal(3),
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
]


def told(value: Any) -> Any:
    """All that can be asked of such a value."""
    zone = getattr(value, "tzinfo", None)
    return type(value), repr(value), getattr(value, "fold", 0), type(zone), repr(zone)


@pytest.mark.parametrize("value", EXACT, ids=repr)
@pytest.mark.parametrize("json", [codec, indented], ids=["compact", "indented"])
def test_a_value_comes_back_exactly_wherever_it_lies(value: Any, json: Any) -> None:
    assert told(json.load(json.dump(value))) == told(value)
    nested = {"a": [value, (value, [{"b": value}])], "c": [[value] * 20, 1, "x", None]}
    back = json.load(json.dump(nested))
    assert told(back["a"][1][1][0]["b"]) == told(back["c"][0][19]) == told(value)
    assert [told(one) for one in json.load_many(json.dump_many([value, 1, value]), 3)] == [
        told(value),
        told(1),
        told(value),
    ]


def test_a_lazy_list_of_them_comes_back_as_a_list() -> None:
    days = EXACT[:2]
    assert codec.load(codec.dump(LazyList(2, lambda lo, hi: days[lo:hi]))) == days


LOOKALIKES: list[Any] = [
    {"__type__": "datetime", "__value__": "2024-01-01T00:00:00"},
    {"dagcelery.value": ["date", "2024-01-01"]},
    {"dagcelery.value": ["dict", [["a", 1]]]},
    {"dagcelery.value": {"dagcelery.value": ["Decimal", "1"]}},
    {"dagcelery.value": []},
    {"dagcelery.value": None},
    {"dagcelery.value": datetime.date(2024, 1, 1)},
    {"dagcelery.value": ["date", "2024-01-01"], "more": 1},
    {"dagcelery.Skipped": ["a", "b", "c"]},
    {"dagcelery.Skipped": Skipped("a", "b", "c")},
    {"dagcelery.other": 1},
    ["dagcelery.value", '"dagcelery.value":', {"a": '{"dagcelery.value": ["date", "2024-01-01"]}'}],
]


@pytest.mark.parametrize("value", LOOKALIKES, ids=repr)
def test_a_dict_that_looks_like_one_of_ours_comes_back_as_that_dict(value: Any) -> None:
    mixed = {"own": value, "deep": [[value], {"a": (value,)}], "day": datetime.date(2024, 1, 1)}
    for json in (codec, indented):
        assert json.load(json.dump(value)) == value
        back = json.load(json.dump(mixed))
        assert (back["own"], back["deep"], back["day"]) == (value, [[value], {"a": [value]}], mixed["day"])


exact = st.dates() | st.datetimes() | st.times() | st.timedeltas() | st.decimals(allow_nan=False) | st.uuids()
keys = st.text(max_size=3) | st.sampled_from(["dagcelery.value", "dagcelery.Skipped"])
words = exact | st.integers() | st.sampled_from(["date", "dict", "Decimal", "2024-01-01"])
anything = st.recursive(words, lambda inner: st.lists(inner, max_size=10) | st.dictionaries(keys, inner, max_size=2))


@given(anything)
def test_whatever_is_mixed_comes_back(value: Any) -> None:
    assert repr(codec.load(codec.dump(value))) == repr(value)


@pytest.mark.parametrize(
    "text",
    [
        b'{"dagcelery.value":["date","no date"]}',
        b'{"dagcelery.value":["no such thing",1]}',
        b'{"dagcelery.value":["Decimal","x"]}',
        b'{"dagcelery.value":[["date"],"2024-01-01"]}',
        b'{"dagcelery.value":["datetime","2024-01-01",[1e99]]}',
    ],
)
def test_what_others_wrote_and_cannot_be_read_stays_what_it_is(text: bytes) -> None:
    assert type(codec.load(text)) is dict


def test_a_zone_that_is_not_known_here_is_named() -> None:
    with pytest.raises(DeserializationError, match="time zone 'No/Where', which is not known here"):
        codec.load(b'{"dagcelery.value":["datetime","2024-01-01T00:00:00","No/Where"]}')


class Own(datetime.tzinfo):
    def utcoffset(self, _: object) -> timedelta:
        return timedelta(hours=1)


@pytest.mark.parametrize("value", [datetime.datetime(2024, 1, 1, tzinfo=Own()), datetime.time(1, tzinfo=Own())])
def test_a_zone_of_another_class_is_refused_with_its_path(value: Any) -> None:
    with pytest.raises(SerializationError, match=r"time zone of type .*Own") as caught:
        codec.dump({"rows": [0, {"when": value}]})
    assert caught.value.culprit == "the value at ['rows'][1]['when']"


@pytest.mark.parametrize("key", [datetime.date(2024, 1, 1), Decimal(1), uuid.UUID(int=1)])
def test_keys_stay_text(key: Any) -> None:
    with pytest.raises(SerializationError, match="JSON has only str keys"):
        codec.dump({key: 1})


# -- in runs ------------------------------------------------------------------------------------
@task
def seen(value: Any) -> Any:
    return [type(value).__name__, value]


@task
def total(values: list[Any]) -> Any:
    return values


@dag
def each(values: list[Any]) -> Any:
    return total([seen(value) for value in values])


def test_a_run_carries_them_item_by_item() -> None:
    found = each.invoke(values=EXACT)
    assert [(kind, repr(value)) for kind, value in found] == [(type(value).__name__, repr(value)) for value in EXACT]


def test_a_run_gives_back_a_users_dict() -> None:
    assert each.invoke(values=LOOKALIKES) == [["dict" if type(v) is dict else "list", v] for v in LOOKALIKES]
    assert seen.invoke(LOOKALIKES[1]) == ["dict", LOOKALIKES[1]]


@dag(serializer=AsPickle())
def pickled(values: list[Any]) -> Any:
    return total([seen(value) for value in values])


def test_json_and_pickle_carry_the_same() -> None:
    assert repr(pickled.invoke(values=EXACT)).replace("(", "[").replace(")", "]") == repr(
        each.invoke(values=EXACT)
    ).replace("(", "[").replace(")", "]")
