"""Avro carries lists of what a schema describes, and refuses what fastavro would change without a word."""

from __future__ import annotations

import datetime
import io
import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagcelery import AsAvro
from dagcelery.errors import DeserializationError, InvalidDag, SerializationError
from dagcelery.payload.formats import is_same
from dagcelery.payload.lazy import LazyList

from .files import broken, carried, damaged, patient, peak_of_writing, read, read_or_refuse, written

fastavro = pytest.importorskip("fastavro", reason="pip install 'dagcelery[avro]'")


def record(**types: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": name, "type": each} for name, each in types.items()]}


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


ORDER = record(
    id="long",
    price="double",
    name=["null", "string"],
    raw="bytes",
    tags={"type": "array", "items": "string"},
    parts={"type": "map", "values": "int"},
    state={"type": "enum", "name": "State", "symbols": ["open", "paid"]},
    paid="boolean",
)
order = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**63), 2**63 - 1),
        "price": st.floats(),
        "name": st.none() | st.text(),
        "raw": st.binary(max_size=9),
        "tags": st.lists(st.text(), max_size=3),
        "parts": st.dictionaries(st.text(), st.integers(-(2**31), 2**31 - 1), max_size=3),
        "state": st.sampled_from(["open", "paid"]),
        "paid": st.booleans(),
    }
)
avro = AsAvro(ORDER)


@given(st.lists(order, max_size=8))
@settings(patient, max_examples=50)
def test_what_goes_in_comes_out_as_the_same_bytes_each_time(orders: list[Any]) -> None:
    assert is_same(orders, carried(avro, orders))
    assert written(avro, orders) == written(AsAvro(json.dumps(ORDER)), tuple(orders))


KINDS = [
    *("null", "boolean", "int", "long", "float", "double", "bytes", "string"),
    {"type": "array", "items": ["null", "float", "string"]},
    {"type": "map", "values": ["int", "double", "bytes"]},
    {"type": "fixed", "name": "F", "size": 2},
    {"type": "enum", "name": "E", "symbols": ["a", "b"]},
    record(a=["null", "int"], b={"type": "record", "name": "S", "fields": [{"name": "a", "type": "string"}]}),
    logical("int", "date"),
    logical("int", "time-millis"),
    logical("long", "timestamp-millis"),
    logical("long", "local-timestamp-micros"),
    logical("bytes", "decimal", precision=4, scale=2),
    logical("string", "uuid"),
]
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.sampled_from(["a", "ab", "\ud800", b"ab", bytearray(b"ab"), Decimal("1.25"), Decimal("0.125"), UUID(int=1)])
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.dates()
    | st.times(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(st.sampled_from(["int", "S", "string"]), inner)
        | st.dictionaries(st.sampled_from(["a", "b", "-type"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3, unique_by=str), anything)
@settings(patient, max_examples=300)
def test_whatever_is_given_comes_back_the_same_or_is_refused(kinds: list[Any], value: Any) -> None:
    try:
        serializer = AsAvro(record(value=kinds[0] if len(kinds) == 1 else kinds))
    except InvalidDag:
        return  # a union of what Avro cannot tell apart
    try:
        data = written(serializer, [{"value": value}])
    except SerializationError:
        return
    assert is_same([{"value": value}], read(serializer, data))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (logical("long", "timestamp-micros"), datetime.datetime(2026, 1, 1, 5, 0, 0, 7, tzinfo=datetime.UTC)),
        (logical("long", "local-timestamp-micros"), datetime.datetime(2026, 1, 1)),
        (logical("int", "date"), datetime.date(2026, 1, 1)),
        (logical("long", "time-micros"), datetime.time(1, 2, 3, 4)),
        (logical("bytes", "decimal", precision=6, scale=2), Decimal("12.50")),
        (logical("string", "uuid"), UUID(int=7)),
        ([record(b="int"), "null"], {"b": 1}),
    ],
    ids=str,
)
def test_logical_types_and_unions_come_back_as_they_are(kind: Any, value: Any) -> None:
    back = carried(AsAvro(kind), (value,))
    assert back == [value]
    assert type(back[0]) is type(value)


A = {"a": 1}
REFUSED: list[tuple[Any, Any, str]] = [
    (record(a="int"), A, "the value: is of type dict, and Avro files hold lists"),
    (record(a="int"), [A, 3], r"at \[1\]: does not fit"),
    (record(a="int"), [{**A, "b": 2}], r"at \[0\]: does not fit"),
    (record(a={"type": "int", "default": 1}), [{}], r"at \[0\]: does not fit"),
    (record(a="int"), [{"a": True}], r"at \[0\]: does not fit"),
    (record(a="int"), [{"a": 2**31}], r"at \[0\]: does not fit"),
    (record(a="long"), [{"a": 1.0}], r"at \[0\]: does not fit"),
    (record(a="string"), [{"a": "\ud800"}], r"at \[0\]: does not fit"),
    (record(a="float"), [{"a": 0.1}], r"at \[0\]\['a'\]: is 0.1 of type float, which would come back as 0.1000000014"),
    (record(a="double"), [{"a": 1}], r"at \[0\]\['a'\]: is 1 of type int, which would come back as 1.0"),
    (record(a="bytes"), [{"a": bytearray(b"a")}], r"at \[0\]\['a'\]: .* which would come back as b'a'"),
    (
        record(a={"type": "array", "items": logical("long", "timestamp-millis")}),
        [{"a": [datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))]}],
        r"at \[0\]\['a'\]\[0\]: is datetime",
    ),
    ([record(a="int"), "null"], [("R", A)], r"at \[0\]"),
]


@pytest.mark.parametrize(("schema", "value", "told"), REFUSED, ids=[told[-40:] for _, _, told in REFUSED])
def test_what_does_not_fit_or_would_change_is_refused_with_its_place_and_a_remedy(
    schema: Any, value: Any, told: str
) -> None:
    with pytest.raises(SerializationError, match=told) as caught:
        written(AsAvro(schema), value)
    assert caught.value.remedy


def test_a_compression_that_is_not_there_is_not_the_value_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def writer(*_: object, **__: object) -> None:
        raise ValueError("snappy codec is supported but you need to install cramjam")

    monkeypatch.setattr(fastavro, "writer", writer)
    with pytest.raises(SerializationError, match=r'install that library, or choose .* such as "deflate"'):
        written(AsAvro("string", "snappy"), ["a"])


LISTED = record(next=["null", "R"])
BAD_SCHEMAS = [
    ("nothing", "UnknownType"),
    ("{not json", "JSONDecodeError"),
    (record(a="lnog"), "lnog"),
    ({1, 2}, "set"),
    (LISTED, "R contains itself"),
    ({"type": "array", "items": "null"}, "takes no bytes"),
    ({"type": "array", "items": {"type": "record", "name": "E", "fields": []}}, "takes no bytes"),
]


@pytest.mark.parametrize(("schema", "told"), BAD_SCHEMAS, ids=[told for _, told in BAD_SCHEMAS])
def test_a_schema_that_is_none_is_refused_where_it_is_written(schema: Any, told: str) -> None:
    with pytest.raises(InvalidDag, match=f"AsAvro: schema .*{told}"):
        AsAvro(schema)


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(InvalidDag, match="did you mean 'deflate'"):
        AsAvro("string", "deflat")


@pytest.mark.parametrize("compression", [None, "deflate", "bzip2", "xz"])
def test_it_is_smaller_with_each_compression_that_python_has(compression: str | None) -> None:
    values = ["a" * 100] * 100
    serializer = AsAvro("string", compression)
    assert carried(serializer, values) == values
    assert (len(written(serializer, values)) < 2_000) == (compression is not None)


def foreign(schema: Any, rows: list[Any]) -> bytes:
    file = io.BytesIO()
    fastavro.writer(file, fastavro.parse_schema(schema), rows)
    return file.getvalue()


def test_files_of_other_programs_are_read_as_avro_says() -> None:
    wanted = {**record(a="long"), "fields": [*record(a="long")["fields"], {"name": "b", "type": "int", "default": 7}]}
    assert read(AsAvro(wanted), foreign(record(a="int", c="string"), [{"a": 1, "c": ""}])) == [{"a": 1, "b": 7}]
    with pytest.raises(DeserializationError, match="Avro"):
        read(AsAvro(record(a="int")), foreign(record(a="string"), [{"a": "x"}]))


def test_a_file_whose_values_could_exhaust_the_stack_is_not_read() -> None:
    with pytest.raises(DeserializationError, match="contains itself"):
        read(
            AsAvro(record(a="int")),
            foreign(
                record(a="int", more={**LISTED, "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}),
                [{"a": 1, "more": {"next": None}}],
            ),
        )


def test_a_file_that_was_cut_between_two_blocks_is_told_from_a_shorter_one() -> None:
    data = written(AsAvro("string", None), ["a" * 20_000, "b" * 20_000])
    with pytest.raises(DeserializationError, match="it ends after 1 of 2 records"):
        read(AsAvro("string", None), data[: data.index(b"b" * 9) - 7])


@given(broken)
@settings(patient, max_examples=100)
def test_damaged_bytes_raise_our_error_only(how: tuple[str, int, int]) -> None:
    row = {"id": 1, "price": 0.5, "name": "é" * 40, "raw": b"x", "tags": ["a"], "parts": {"b": 1}}
    data = written(avro, [{**row, "state": "paid", "paid": True}] * 5)
    read_or_refuse(avro, damaged(data, how))


def test_a_large_list_is_written_bit_by_bit() -> None:
    rows = LazyList(30_000, lambda lo, hi: ({"n": n, "text": f"{n:08d}" * 20} for n in range(lo, hi)))
    peak, size = peak_of_writing(AsAvro(record(n="long", text="string"), None), rows)
    assert size > 4_500_000
    assert peak < size / 5
