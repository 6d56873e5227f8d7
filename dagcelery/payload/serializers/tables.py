"""Arrow tables of what people have: lists of dicts, pandas DataFrames, and tables of pyarrow themselves.

A mark in a table's schema says what it was, so that the same comes back; without one it comes back as a pyarrow Table.
Lists of dicts are converted some thousand rows at a time, once to find the types of their columns and once to write
them, and each batch is compared with what will be read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from dagcelery.payload.serializers import frames
from dagcelery.payload.serializers.refusals import is_same, listed, refused, short, type_name

if TYPE_CHECKING:
    import pyarrow

NEEDS: Final = {"pyarrow": "dagcelery[arrow]", "pandas": "pandas"}
REMEDY: Final = "give it a pandas DataFrame, a pyarrow Table or a list of dicts, each column of one type"
BATCH_ROWS: Final = 8192
_MARK: Final = b"dagcelery"
_ROWS: Final = b"rows"
_FRAME: Final = b"pandas"

Batches = tuple["pyarrow.Schema", Iterator["pyarrow.RecordBatch"]]


def to_batches(value: Any) -> Batches:
    """Return the schema of `value` and its rows, converted as they are asked for.

    Raises SerializationError for what is no table, and, at once or on the way, for what would come back changed.
    """
    import pyarrow

    if type(value) is pyarrow.Table:
        if _MARK in (value.schema.metadata or {}):
            raise refused((), f"has {_MARK!r} in its schema's metadata", "take it out: table.replace_schema_metadata()")
        return value.schema, _cut(value, value.schema)
    pandas = sys.modules.get("pandas")  # who has a DataFrame has imported it
    if pandas is not None and type(value) is pandas.DataFrame:
        table = frames.to_table(value)
        schema = _marked(table.schema, _FRAME)
        return schema, _cut(table, schema)
    rows = listed(value)
    if rows is None:
        raise refused((), f"is of type {type_name(value)}, which is not a table", REMEDY)
    schema = _marked(_schema_of(rows), _ROWS)
    return schema, _checked_batches(rows, schema)


def from_batches(schema: pyarrow.Schema, batches: Iterable[pyarrow.RecordBatch]) -> Any:
    """Return the value that `to_batches` was given. Raises what pyarrow and pandas raise for what is none."""
    import pyarrow

    mark = (schema.metadata or {}).get(_MARK)
    if mark == _ROWS:
        return [row for batch in map(_valid, batches) for row in batch.to_pylist()]
    table = pyarrow.Table.from_batches(list(map(_valid, batches)), schema)
    if mark != _FRAME:
        return table
    return frames.to_frame(table)


def refuse_other(schema: pyarrow.Schema, back: pyarrow.Schema, form: str, remedy: str) -> None:
    """Raise SerializationError for the first column that would be of another type if `form` keeps `back`."""
    if (schema.metadata or {}).get(_MARK) == _FRAME:
        frames.refuse_other(schema, back, form, remedy)
        return
    for field, found in zip(schema, back, strict=True):
        if not field.equals(found):
            reason = f"is a column of {_type_text(field)}, which would come back from {form} as {_type_text(found)}"
            raise refused((field.name,), reason, remedy)


def refuse_categories(schema: pyarrow.Schema, reason: str, remedy: str) -> None:
    """Raise SerializationError for the first column of a DataFrame that has categories."""
    from pyarrow import types

    if (schema.metadata or {}).get(_MARK) == _FRAME:
        for field in schema:
            if types.is_dictionary(field.type):
                raise refused((field.name,), reason, remedy)


def _type_text(field: pyarrow.Field) -> str:
    return f"{field.type}" if field.nullable else f"{field.type} without nulls"


def _valid(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    # Offsets that point elsewhere would have us read memory that is not the table's.
    batch.validate(full=True)
    return batch


def _cut(table: pyarrow.Table, schema: pyarrow.Schema) -> Iterator[pyarrow.RecordBatch]:
    """Yield the rows of `table`, without a copy; one batch at least, since it is there that dictionaries are kept."""
    import pyarrow

    whole = table.unify_dictionaries()  # a file has one dictionary for all batches
    for batch in whole.to_batches(max_chunksize=BATCH_ROWS):
        yield pyarrow.RecordBatch.from_arrays(batch.columns, schema=schema)
    if not table.num_rows:
        yield pyarrow.RecordBatch.from_arrays([column.combine_chunks() for column in whole.columns], schema=schema)


def _marked(schema: pyarrow.Schema, mark: bytes) -> pyarrow.Schema:
    return schema.with_metadata({**(schema.metadata or {}), _MARK: mark})


# -- lists of dicts -------------------------------------------------------------------------------
def _schema_of(rows: Sequence[Any]) -> pyarrow.Schema:
    """Find the type of each column; one that is all None so far takes the type that follows."""
    import pyarrow

    names: list[str] | None = None
    schema = pyarrow.schema([])
    for lo, chunk in _chunks(rows):
        names = _names_of(chunk, lo, names)
        found = pyarrow.schema([(name, _column(chunk, lo, name, None).type) for name in names])
        try:
            schema = pyarrow.unify_schemas([schema, found])
        except pyarrow.ArrowException as error:
            reason = f"has columns of other types than the rows before: {error}"
            raise refused((lo,), reason, "make each column of one type") from error
    return schema


def _checked_batches(rows: Sequence[Any], schema: pyarrow.Schema) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow

    for lo, chunk in _chunks(rows):
        columns = [_column(chunk, lo, field.name, field.type) for field in schema]
        yield pyarrow.RecordBatch.from_arrays(columns, schema=schema)


def _chunks(rows: Iterable[Any]) -> Iterator[tuple[int, list[Any]]]:
    left, lo = iter(rows), 0
    while chunk := list(islice(left, BATCH_ROWS)):
        yield lo, chunk
        lo += len(chunk)


def _names_of(chunk: list[Any], lo: int, names: list[str] | None) -> list[str]:
    """Return the keys that all these rows have, which are `names` if there were rows before."""
    known = None if names is None else set(names)
    for at, row in enumerate(chunk, lo):
        if type(row) is not dict or not row or not all(type(key) is str for key in row):
            raise refused((at,), f"is {short(row)} of type {type_name(row)}, and no dict with str keys", REMEDY)
        if names is None or known is None:
            names, known = list(row), set(row)
        if row.keys() != known:
            reason = f"has the keys {short(list(row))}, and the rows before {short(names)}"
            raise refused((at,), reason, "give every row the same keys, None where there is nothing")
    return names or []


def _column(chunk: list[Any], lo: int, name: str, kind: Any) -> pyarrow.Array:
    """Return a column of some rows; of type `kind` if it is known, and then it is compared with what it came from."""
    import pyarrow

    values = [row[name] for row in chunk]
    try:
        column = pyarrow.array(values, type=kind)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
        at = _first(values, lambda value: _fails(pyarrow.array, value, kind)) if kind is not None else None
        path = (lo + at, name) if at is not None else (name,)
        raise refused(path, f"cannot be put into an Arrow column: {error}", REMEDY) from error
    if kind is not None:
        back = column.to_pylist()
        for at, (value, found) in enumerate(zip(values, back, strict=True)):
            if not is_same(value, found):
                reason = f"is {short(value)} of type {type_name(value)}, which would come back as {short(found)}"
                raise refused((lo + at, name), f"{reason} of type {type_name(found)}", REMEDY)
    return column


def _first(values: Iterable[Any], fails: Callable[[Any], bool]) -> int | None:
    return next((at for at, value in enumerate(values) if fails(value)), None)


def _fails(array: Callable[..., Any], value: Any, kind: Any) -> bool:
    try:
        array([value], type=kind)
    except Exception:
        return True
    return False
