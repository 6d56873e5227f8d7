"""Arrow and Parquet carry lists of dicts, tables of pyarrow and DataFrames; each comes back as what it was."""

from __future__ import annotations

import datetime
import decimal
import enum
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagcelery import AsArrow, AsParquet
from dagcelery.errors import DeserializationError, PayloadTooLarge, SerializationError
from dagcelery.payload.codecs import codec_for
from dagcelery.payload.formats import is_same
from dagcelery.payload.lazy import LazyList

from .files import broken, carried, damaged, patient, peak_of_writing, read, read_or_refuse, written

pyarrow = pytest.importorskip("pyarrow", reason="pip install 'dagcelery[arrow]'")
both = pytest.mark.parametrize("serializer", [AsArrow(), AsArrow("zstd"), AsParquet(), AsParquet(None)], ids=repr)
plain = pytest.mark.parametrize("serializer", [AsArrow(), AsParquet()], ids=repr)

NOON = datetime.datetime(2026, 1, 1, 12, 0, 0, 5)
ROW = {
    "int": -(2**63),
    "float": 0.5,
    "bool": True,
    "str": "é\0",
    "bytes": b"\xff",
    "none": None,
    "list": [1, None],
    "dict": {"a": [{"b": "c"}]},
    "decimal": decimal.Decimal("1.50"),
    "date": NOON.date(),
    "time": NOON.time(),
    "datetime": NOON,
    "utc": NOON.replace(tzinfo=datetime.UTC),
    "timedelta": datetime.timedelta(days=1, microseconds=1),
}

cells = st.sampled_from(
    [
        st.none(),
        st.booleans() | st.none(),
        st.integers(-(2**63), 2**63 - 1) | st.none(),
        st.floats() | st.none(),
        st.text() | st.none(),
        st.binary() | st.none(),
        st.dates() | st.none(),
        st.lists(st.integers(0, 9) | st.none()) | st.none(),
        st.fixed_dictionaries({"a": st.text(), "b": st.floats()}),
    ]
)
rows = st.dictionaries(st.text(min_size=1), cells, min_size=1, max_size=4).flatmap(
    lambda columns: st.lists(st.fixed_dictionaries(columns), max_size=6)
)


# -- lists of dicts -------------------------------------------------------------------------------
@plain
@given(value=rows)
@settings(patient, max_examples=30)
def test_rows_come_back(serializer: Any, value: list[dict[str, Any]]) -> None:
    assert is_same(value, carried(serializer, value))


@both
def test_cells_may_be_of_many_types(serializer: Any) -> None:
    value = [ROW, dict.fromkeys(ROW), ROW]
    assert is_same(value, carried(serializer, value))
    assert carried(serializer, []) == []


@plain
def test_a_column_may_begin_with_many_nones(serializer: Any) -> None:
    value = [{"n": None if n < 20_000 else n} for n in range(20_010)]
    assert carried(serializer, value) == value


class Colour(enum.StrEnum):
    RED = "red"


REFUSED: list[tuple[Any, str]] = [
    ("text", "the value: is of type str, which is not a table"),
    ([1], r"at \[0\]: is 1 of type int, not a dict"),
    ([{}], r"at \[0\]: is {} of type dict"),
    ([{1: 2}], r"at \[0\]: is {1: 2}"),
    ([{"a": 1}, {"b": 1}], r"at \[1\]: has the keys \['b'\], and the rows before \['a'\]"),
    ([{"a": 1}, {"a": "b"}], r"at \['a'\]: cannot be put into an Arrow column"),
    ([{"a": 1}, {"a": 2.0}], r"at \[0\]\['a'\]: is 1 of type int, which would come back as 1.0 of type float"),
    ([{"a": {"b": 1}}, {"a": {"c": 1}}], r"which would come back as {'b': 1, 'c': None}"),
    ([{"a": Colour.RED}], "Colour, which would come back as 'red' of type str"),
    ([{"a": {1, 2}}], "of type set, which would come back as"),
    ([{"a": 2**70}], "cannot be put into an Arrow column"),
    ([{"a": object()}], "cannot be put into an Arrow column"),
    ([{"a": "\ud800"}], "surrogates not allowed"),
    ([{"a": decimal.Decimal("1.5")}, {"a": decimal.Decimal("1.50")}], "which would come back as Decimal"),
    ([{"a": n if n < 8192 else str(n)} for n in range(9000)], "has columns of other types than the rows before"),
]


@plain
@pytest.mark.parametrize(("value", "told"), REFUSED, ids=[told[-30:] for _, told in REFUSED])
def test_what_would_change_is_refused_with_its_place_and_a_remedy(serializer: Any, value: Any, told: str) -> None:
    with pytest.raises(SerializationError, match=told) as caught:
        written(serializer, value)
    assert caught.value.remedy


def test_what_only_parquet_cannot_say_is_refused_by_it_alone() -> None:
    value = [{"a": {}}]
    assert carried(AsArrow(), value) == value
    with pytest.raises(SerializationError, match="cannot be written as Parquet"):
        written(AsParquet(), value)


# -- tables of pyarrow ----------------------------------------------------------------------------
@both
def test_tables_come_back_with_their_types_and_metadata(serializer: Any) -> None:
    table = pyarrow.table(
        {
            "small": pyarrow.array([1, None], pyarrow.uint8()),
            "words": pyarrow.array(["a", "b"]).dictionary_encode(),
            "when": pyarrow.array([1, 2], pyarrow.timestamp("ns", "Europe/Berlin")),
            "map": pyarrow.array([[("a", 1)], []], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
        },
        metadata={"origin": "here"},
    )
    back = carried(serializer, table)
    assert back.equals(table)
    assert back.schema.metadata == {b"origin": b"here"}
    assert carried(serializer, table.slice(0, 0)).schema == table.schema


@plain
def test_chunks_of_a_table_may_have_dictionaries_of_their_own(serializer: Any) -> None:
    parts = [pyarrow.table({"a": pyarrow.array(words).dictionary_encode()}) for words in (["a", "b"], ["c", "b"])]
    assert carried(serializer, pyarrow.concat_tables(parts)).to_pylist() == [{"a": c} for c in "abcb"]


def test_a_column_that_parquet_would_change_is_refused() -> None:
    table = pyarrow.table({"when": pyarrow.array([1], pyarrow.timestamp("s"))})
    assert carried(AsArrow(), table).equals(table)
    told = r"at \['when'\]: is a column of timestamp\[s\], which would come back from Parquet as timestamp\[ms\]"
    with pytest.raises(SerializationError, match=told):
        written(AsParquet(), table)


@plain
def test_a_table_that_bears_our_mark_is_refused(serializer: Any) -> None:
    with pytest.raises(SerializationError, match="metadata"):
        written(serializer, pyarrow.table({"a": [1]}, metadata={"dagcelery": "rows"}))


def test_files_of_others_are_read_as_tables() -> None:
    from pyarrow import feather, parquet

    table = pyarrow.table({"a": [1, 2]})
    for write, serializer in ((feather.write_feather, AsArrow()), (parquet.write_table, AsParquet())):
        file = io.BytesIO()
        write(table, file)
        assert read(serializer, file.getvalue()).equals(table)


# -- bytes ----------------------------------------------------------------------------------------
@plain
@pytest.mark.parametrize("data", [b"", b"x", b"PAR1", b"ARROW1\0\0", b"PAR1" * 5, b"ARROW1\0\0" * 5, b"[1, 2]"])
def test_bytes_that_hold_no_table_are_refused(serializer: Any, data: bytes) -> None:
    with pytest.raises(DeserializationError, match="the input: cannot be read as") as caught:
        codec_for(serializer).load(data, "the input")
    assert caught.value.remedy


@both
@given(how=broken)
@settings(patient, max_examples=80)
def test_damaged_bytes_raise_our_error_only(serializer: Any, how: tuple[str, int, int]) -> None:
    data = written(serializer, [{"n": n, "text": "é" * n, "list": [n, None], "dict": {"a": b"x"}} for n in range(20)])
    read_or_refuse(serializer, damaged(data, how))


@both
def test_every_file_that_ends_early_is_refused(serializer: Any) -> None:
    data = written(serializer, [{"n": n} for n in range(3)])
    for end in range(len(data)):
        with pytest.raises(DeserializationError):
            read(serializer, data[:end])


# -- size -----------------------------------------------------------------------------------------
@plain
def test_a_large_value_is_written_bit_by_bit(serializer: Any) -> None:
    rows = LazyList(60_000, lambda lo, hi: ({"n": n, "text": f"{n:08d}" * 30} for n in range(lo, hi)))
    pool = pyarrow.default_memory_pool()
    peak, size = peak_of_writing(serializer, rows)
    text = 60_000 * 240
    assert size > (text if serializer == AsArrow() else 0)
    assert peak < text
    assert pool.bytes_allocated() < text / 5


@plain
def test_what_becomes_too_large_is_given_up_on_the_way(serializer: Any) -> None:
    asked = []

    def fetch(lo: int, hi: int) -> Any:
        for n in range(lo, hi):
            asked.append(n)
            yield {"n": n, "text": f"{n:08d}" * 30}

    with pytest.raises(PayloadTooLarge, match="the rows"):
        codec_for(serializer).dump(LazyList(200_000, fetch), "the rows", 1000)
    assert len(asked) < 300_000  # all once for their types, and few to be written
