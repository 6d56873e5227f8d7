"""CSV carries rows of text, and other types where its columns have names and types."""

from __future__ import annotations

import csv
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagcelery import AsCSV
from dagcelery.errors import DeserializationError, InvalidDag, SerializationError
from dagcelery.payload.codecs import codec_for
from dagcelery.payload.formats import is_same
from dagcelery.payload.lazy import LazyList

from .files import broken, carried, damaged, patient, peak_of_writing, read, read_or_refuse, written

plain = AsCSV()
rows_only = AsCSV(header=False)
typed = AsCSV(columns={"name": str, "age": int, "height": float, "member": bool})

names = st.lists(st.text(), min_size=1, max_size=4, unique=True)
tables = names.flatmap(lambda keys: st.lists(st.fixed_dictionaries(dict.fromkeys(keys, st.text())), max_size=5))
people = st.fixed_dictionaries(
    {"name": st.text(), "age": st.integers(), "height": st.floats(), "member": st.booleans()}
)


@given(tables, st.sampled_from([",", ";", "\t", "x"]))
@patient
def test_dicts_of_text_come_back(value: list[dict[str, str]], delimiter: str) -> None:
    assert carried(AsCSV(delimiter=delimiter), value) == value


@given(st.lists(st.lists(st.text(), max_size=4), max_size=5))
@patient
def test_rows_of_text_come_back_without_a_header(value: list[list[str]]) -> None:
    assert carried(rows_only, value) == value


@given(st.lists(people, max_size=5))
@patient
def test_typed_columns_come_back_as_what_they_were(value: list[dict[str, Any]]) -> None:
    assert is_same(value, carried(typed, value))


def test_types_hold_for_rows_without_a_header_too() -> None:
    serializer = AsCSV(columns={"a": int, "b": str}, header=False)
    assert carried(serializer, [(1, "2"), (3, "4")]) == [[1, "2"], [3, "4"]]


def test_the_file_is_what_spreadsheets_read() -> None:
    people = [{"name": 'Ada "A"', "age": 36, "height": 1.5, "member": True}]
    assert written(typed, people) == b'name,age,height,member\r\n"Ada ""A""",36,1.5,true\r\n'


def test_files_of_others_are_read() -> None:
    assert read(plain, "a;b\n1;é\n\n".encode()) == [{"a;b": "1;é"}]
    assert read(AsCSV(delimiter=";"), "a;b\n1;é\n\n".encode()) == [{"a": "1", "b": "é"}]


def test_no_rows_keep_their_header_if_their_columns_have_names() -> None:
    assert written(plain, []) == b""
    assert written(typed, []) == b"name,age,height,member\r\n"
    assert carried(typed, []) == carried(plain, []) == carried(rows_only, []) == []


REFUSED: list[tuple[AsCSV, Any, str]] = [
    (plain, {"a": "b"}, "the value: is of type dict, and CSV holds rows"),
    (plain, [["a"]], r"at \[0\]: is of type list, not a dict.*header=False"),
    (plain, [{}], r"at \[0\]: has no keys"),
    (plain, [{"a": "b"}, {"b": "a"}], r"at \[1\]: has the keys \['b'\], and the columns are \['a'\]"),
    (plain, [{"a": "b"}, {"a": 1}], r"at \[1\]\['a'\]: is of type int.*AsCSV\(columns="),
    (plain, [{"a": None}], "is None, which CSV cannot tell from an empty str"),
    (plain, [{1: "a"}], "is of type int in a column of str"),
    (plain, [{"a": "\ud800"}], r"at \[0\]\['a'\]: is a str with a lone surrogate"),
    (plain, [{"a": "x" * (csv.field_size_limit() + 1)}], r"csv.field_size_limit\(\)"),
    (rows_only, [{"a": "b"}], r"at \[0\]: is of type dict, not a list"),
    (rows_only, [["a", 1]], r"at \[0\]\[1\]: is of type int"),
    (typed, [{"name": "a", "age": True, "height": 1.0, "member": True}], r"at \[0\]\['age'\]: is of type bool"),
    (typed, [{"name": "a", "age": 1, "height": 1, "member": True}], r"at \[0\]\['height'\]: is of type int"),
    (typed, [{"name": "a", "age": 1}], r"at \[0\]: has the keys"),
    (AsCSV(columns={"a": int}, header=False), [[1, 2]], "has 2 cells, and there are 1 columns"),
    (AsCSV(columns={"a": int}), [{"a": 10**5000}], "cannot be written as CSV"),
]


@pytest.mark.parametrize(("serializer", "value", "told"), REFUSED, ids=[told[-30:] for _, _, told in REFUSED])
def test_what_would_change_is_refused_with_its_place_and_a_remedy(serializer: AsCSV, value: Any, told: str) -> None:
    with pytest.raises(SerializationError, match=told) as caught:
        written(serializer, value)
    assert caught.value.remedy


def test_nan_is_text_that_reads_as_nan() -> None:
    assert math.isnan(carried(AsCSV(columns={"x": float}), [{"x": math.nan}])[0]["x"])


BAD: list[tuple[AsCSV, bytes, str]] = [
    (plain, b"\xff", "UnicodeDecodeError"),
    (plain, b'a\r\n"b', "unexpected end of data"),
    (plain, b"a,b\r\n1,2\r\n1\r\n", "line 3 has 1 cells in place of 2"),
    (typed, b"name,age\r\n", "line 1 has the columns"),
    (AsCSV(columns={"a": int}), b"a\r\n1.5\r\n", r"line 2 has the cells \['1.5'\] in columns of int"),
    (AsCSV(columns={"a": bool}), b"a\r\nyes\r\n", r"line 2 has the cells \['yes'\] in columns of bool"),
    (AsCSV(columns={"a": int}, header=False), b"1,2\r\n", "line 1 has 2 cells in place of 1"),
]


@pytest.mark.parametrize(("serializer", "data", "told"), BAD, ids=[told[-30:] for _, _, told in BAD])
def test_bytes_that_hold_no_rows_are_refused_with_their_line(serializer: AsCSV, data: bytes, told: str) -> None:
    with pytest.raises(DeserializationError, match=f"the input: .*{told}"):
        codec_for(serializer).load(data, "the input")


@given(broken)
@settings(patient, max_examples=80)
def test_damaged_bytes_raise_our_error_only(how: tuple[str, int, int]) -> None:
    data = written(typed, [{"name": 'é "quoted"\n', "age": 3, "height": 0.5, "member": False}] * 4)
    read_or_refuse(typed, damaged(data, how))


@pytest.mark.parametrize(
    "options",
    [
        {"columns": {"a": list}},
        {"columns": {1: str}},
        {"columns": {}},
        {"columns": [("a", int), ("a", str)]},
        {"columns": "ab"},
        {"columns": 5},
        {"delimiter": ""},
        {"delimiter": ";;"},
        {"delimiter": '"'},
        {"delimiter": None},
    ],
    ids=repr,
)
def test_options_that_make_no_file_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidDag, match="AsCSV: "):
        AsCSV(**options)


def test_the_same_columns_are_equal_however_they_are_told() -> None:
    assert AsCSV(columns={"a": int}) == AsCSV(columns=[("a", "int")]) != AsCSV(columns={"a": str})
    assert len({AsCSV(columns={"a": int}), AsCSV(columns={"a": int})}) == 1


def test_a_large_value_is_written_bit_by_bit() -> None:
    rows = LazyList(30_000, lambda lo, hi: ({"n": str(n), "text": f"{n:08d}" * 20} for n in range(lo, hi)))
    peak, size = peak_of_writing(plain, rows)
    assert size > 5_000_000
    assert peak < size / 3
