"""DataFrames of pandas as Arrow tables; a frame that would come back changed is refused before it is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from dagcelery.payload.serializers.refusals import is_same, refused, short, type_name

if TYPE_CHECKING:
    import pandas
    import pyarrow

_REMEDY: Final = "convert the column, as frame.convert_dtypes() does, or use AsPickle()"
_NAMES: Final = "use str as names of columns"


def to_table(frame: pandas.DataFrame) -> pyarrow.Table:
    """Return `frame` as a table whose schema says how to make it a frame again; columns of numbers are not copied.

    Raises SerializationError for what would come back otherwise: a column of another type or of mixed ones, other
    names or another index. Missing values count as the same: NaN among objects comes back as None.
    """
    import pyarrow

    if not frame.columns.is_unique:
        raise refused((), "has two columns of one name", "rename one")
    if frame.columns.nlevels == 1 and frame.columns.inferred_type.startswith("mixed"):
        raise refused((), f"has names of several types as columns, {short(list(frame.columns))}", _NAMES)
    try:
        table = pyarrow.Table.from_pandas(frame)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise refused((), f"has a column that Arrow cannot hold: {error}", _REMEDY) from error
    _check_types(frame, to_frame(table.slice(0, 0)))
    for name, values, column in _objects(frame, table):
        _check_objects(name, values, column)
    return table


def to_frame(table: pyarrow.Table) -> pandas.DataFrame:
    """Return the frame that `to_table` was given; its columns are copies and may be written to."""
    import pandas

    frame = table.to_pandas()
    for at, kind in enumerate(frame.dtypes):
        if isinstance(kind, pandas.CategoricalDtype):  # the only one that pyarrow does not copy
            frame.isetitem(at, frame.iloc[:, at].copy())
    return frame


def refuse_other(schema: pyarrow.Schema, back: pyarrow.Schema, form: str, remedy: str) -> None:
    """Raise SerializationError for the first column that would be of another type if `form` keeps `back`."""
    given, found = (to_frame(kept.empty_table()).dtypes for kept in (schema, back))
    for name, kind, other in zip(given.index, given, found, strict=True):
        if kind != other:
            raise refused((name,), f"is a column of {kind}, which would come back from {form} as {other}", remedy)


def _check_types(frame: pandas.DataFrame, back: pandas.DataFrame) -> None:
    """Compare all but the values; `back` is what a table without rows becomes."""
    for name, given, found in zip(frame.columns, frame.dtypes, back.dtypes, strict=False):
        if given != found:
            raise refused((name,), f"is a column of {given}, which would come back as {found}", _REMEDY)
    if not frame.columns.equals(back.columns) or _described(frame.columns) != _described(back.columns):
        reason = f"has columns {short(frame.columns)}, which would come back as {short(back.columns)}"
        raise refused((), reason, _NAMES)
    if _described(frame.index) != _described(back.index):
        reason = f"has an index {_described(frame.index)}, which would come back as {_described(back.index)}"
        raise refused((), reason, "make it columns with frame.reset_index()")
    if frame.attrs != back.attrs:
        raise refused((), "has attrs, which would be lost", "empty frame.attrs, or return them beside it")


def _described(index: pandas.Index) -> tuple[Any, ...]:
    levels = [index.get_level_values(level) for level in range(index.nlevels)]
    # A range of numbers may become these numbers.
    return type(index).__name__.removeprefix("Range"), list(index.names), [str(level.dtype) for level in levels]


def _objects(frame: pandas.DataFrame, table: pyarrow.Table) -> Iterator[tuple[object, Any, pyarrow.ChunkedArray]]:
    """Yield what may hold anything: columns and levels of the index that are of type object."""
    for at, (name, kind) in enumerate(zip(frame.columns, frame.dtypes, strict=True)):
        if str(kind) == "object":
            yield name, frame.iloc[:, at], table.column(at)
    if table.num_columns > len(frame.columns):
        for level in range(frame.index.nlevels):
            values = frame.index.get_level_values(level)
            if str(values.dtype) == "object":
                yield f"index {level}", values, table.column(len(frame.columns) + level)


def _check_objects(name: object, values: Any, column: pyarrow.ChunkedArray) -> None:
    import pandas

    missing = pandas.isna(values)
    for at, (value, found, is_missing) in enumerate(zip(values, column.to_pandas(), missing, strict=True)):
        if not is_same(value, found) and not (is_missing and pandas.api.types.is_scalar(found) and pandas.isna(found)):
            reason = f"is {short(value)} of type {type_name(value)}, which would come back as {short(found)}"
            raise refused((name, at), f"{reason} of type {type_name(found)}", _REMEDY)
