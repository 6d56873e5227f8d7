"""DataFrames travel as Arrow and Parquet with their types, names and index, or are refused."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from dagcelery import AsArrow, AsParquet
from dagcelery.errors import DeserializationError, SerializationError

from .files import carried, read, written

pytest.importorskip("pyarrow", reason="pip install 'dagcelery[arrow]'")
pd = pytest.importorskip("pandas", reason="pip install pandas")
both = pytest.mark.parametrize("serializer", [AsArrow(), AsParquet()], ids=repr)

DAYS = pd.date_range("2026-01-01", periods=3, tz="Europe/Berlin")
MANY = pd.DataFrame(
    {
        "int": [1, 2, 3],
        "small": pd.array([1, 2, 3], dtype="uint8"),
        "nullable": pd.array([1, None, 3], dtype="Int64"),
        "float": [0.5, float("nan"), float("inf")],
        "bool": [True, False, True],
        "text": ["a", None, "é"],
        "kind": pd.Categorical(["u", "v", "u"]),
        "when": pd.date_range("2026-01-01", periods=3),
        "where": DAYS,
        "long": pd.to_timedelta([1, 2, 3], unit="h"),
        "dates": pd.Series([datetime.date(2026, 1, 1)] * 3, dtype=object),
        "blobs": pd.Series([b"a", None, b"b"], dtype=object),
    }
)
FRAMES = {
    "many types": MANY,
    "no rows": MANY.drop(columns="kind").iloc[:0],
    "categories that are not used": pd.DataFrame({"a": pd.Categorical(["u"] * 9, ["x", "u", "v"], ordered=True)}),
    "nothing": pd.DataFrame(),
    "some rows": MANY.iloc[1:],
    "an index of names": MANY.set_index("text"),
    "an index of days": MANY.set_index("where"),
    "two levels": MANY.set_index(["int", "text"]),
    "numbers as names": pd.DataFrame([[1, 2], [3, 4]]),
    "names in levels": pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])),
    "a name with spaces": pd.DataFrame({"a b": [1]}).rename_axis(columns="c"),
}


@both
@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_comes_back(serializer: Any, name: str) -> None:
    back = carried(serializer, FRAMES[name])
    pd.testing.assert_frame_equal(back, FRAMES[name], check_index_type="equiv", check_column_type="equiv")


@both
def test_many_categories_keep_their_order(serializer: Any) -> None:
    names = [f"{n * 7919 % 40_000:050d}" for n in range(40_000)]
    frame = pd.DataFrame({"a": pd.Categorical(names[::-1], names), "n": range(40_000)})
    pd.testing.assert_frame_equal(carried(serializer, frame), frame)


def test_categories_without_rows_are_refused_by_parquet_alone() -> None:
    pd.testing.assert_frame_equal(carried(AsArrow(), MANY.iloc[:0]), MANY.iloc[:0])
    with pytest.raises(SerializationError, match=r"at \['kind'\]: has categories"):
        written(AsParquet(), MANY.iloc[:0])


@both
def test_what_comes_back_may_be_written_to(serializer: Any) -> None:
    back = carried(serializer, MANY)
    for name in back:
        back.loc[0, name] = back.loc[2, name]
    assert back.iloc[0].astype(str).tolist() == MANY.iloc[2].astype(str).tolist()


@both
def test_missing_values_among_objects_come_back_as_none(serializer: Any) -> None:
    back = carried(serializer, pd.DataFrame({"a": pd.Series([b"a", float("nan")], dtype=object)}))
    assert back["a"].tolist() == [b"a", None]


def objects(*values: Any) -> Any:
    return pd.DataFrame({"a": pd.Series(list(values), dtype=object)})


class Frame(pd.DataFrame):  # type: ignore[misc]
    """A class of one's own."""


def described() -> Any:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"when": {1, 2}}
    return frame


REFUSED: list[tuple[Any, str]] = [
    (objects(1, None), r"at \['a'\]"),
    (objects(1, "b"), "has a column that Arrow cannot hold"),
    (objects([1], [2]), r"at \['a'\]\[0\]: is \[1\] of type list, which would come back as array"),
    (objects({1}), r"at \['a'\]"),
    (pd.DataFrame({"a": [1j]}), "has a column that Arrow cannot hold"),
    (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns of one name"),
    (pd.DataFrame([[1, 2]], columns=["a", 1]), "names of several types"),
    (described(), "attrs|cannot be written"),
    (Frame({"a": [1]}), "which is not a table"),
    (pd.Series([1]), "which is not a table"),
]


@both
@pytest.mark.filterwarnings("ignore:Could not serialize pd.DataFrame.attrs")
@pytest.mark.parametrize(("frame", "told"), REFUSED, ids=[told[-30:] for _, told in REFUSED])
def test_a_frame_that_would_change_is_refused_with_a_remedy(serializer: Any, frame: Any, told: str) -> None:
    with pytest.raises(SerializationError, match=told) as caught:
        written(serializer, frame)
    assert caught.value.remedy


def test_times_that_parquet_would_change_are_refused_by_it_alone() -> None:
    frame = pd.DataFrame({"when": pd.to_datetime([1, 2], unit="s").as_unit("s")})
    pd.testing.assert_frame_equal(carried(AsArrow(), frame), frame)
    with pytest.raises(SerializationError, match=r"at \['when'\]: is a column of datetime64\[s\]"):
        written(AsParquet(), frame)


@both
def test_a_frame_that_is_read_without_pandas_says_what_to_install(
    serializer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = written(serializer, MANY)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(DeserializationError, match=r"without pandas.*pip install 'pandas'"):
        read(serializer, data)
