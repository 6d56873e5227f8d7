"""Tables: lists of dicts, pandas DataFrames and tables of pyarrow, as files of Arrow or of Parquet.

A mark in a table's schema says what it was made of, so that the same comes back; without one it comes back as a pyarrow
Table. Lists of dicts are converted some thousand rows at a time, once to find the types of their columns and once to
write them, and each batch is compared with what will be read. A frame that would come back changed is refused before
it is written.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final

from dagcelery.payload.formats import is_same, listed, reading, refused, refused_change, writing
from dagcelery.text import short, type_name

if TYPE_CHECKING:
    import pandas
    import pyarrow

_NEEDS: Final = {"pyarrow": "dagcelery[arrow]", "pandas": "pandas"}
_REMEDY: Final = "give it a pandas DataFrame, a pyarrow Table or a list of dicts, each column of one type"
_CONVERT: Final = "convert the column, as frame.convert_dtypes() does, or use AsPickle()"
_NAMES: Final = "use str as names of columns"
_BATCH_ROWS: Final = 8192
_BATCHES_A_GROUP: Final = 8
_MARK: Final = b"dagcelery"
_ROWS: Final = b"rows"
_FRAME: Final = b"pandas"


@dataclass(frozen=True, slots=True)
class AsArrow:
    """Serialize tables as Arrow IPC files: pandas DataFrames, pyarrow Tables and lists of dicts.

    Each comes back as what it was, and what would come back changed is refused. `compression` is "lz4", "zstd" or
    None. It needs the extra ``dagcelery[arrow]``, and pandas for DataFrames.
    """

    compression: str | None = None

    kind: ClassVar[str] = "arrow"
    extension: ClassVar[str] = "arrow"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write a table, some thousand rows at a time.

        Raises SerializationError naming the cell that a table cannot hold.
        """
        with writing("Arrow", _REMEDY, _NEEDS):
            from pyarrow import ipc

            schema, batches = _to_batches(value)
            with ipc.new_file(writer, schema, options=ipc.IpcWriteOptions(compression=self.compression)) as file:
                for batch in batches:
                    file.write_batch(batch)

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read what `serialize` wrote, or any such file as a Table.

        Raises DeserializationError for anything else.
        """
        with reading("Arrow", _NEEDS):
            import pyarrow
            from pyarrow import ipc

            # Bytes that are in memory already are not copied.
            source: Any = reader
            if isinstance(reader, io.BytesIO) and reader.tell() == 0:
                source = pyarrow.py_buffer(reader.getvalue())
            file = ipc.open_file(source)
            return _from_batches(file.schema, map(file.get_batch, range(file.num_record_batches)))


@dataclass(frozen=True, slots=True)
class AsParquet:
    """Serialize tables as Parquet: pandas DataFrames, pyarrow Tables and lists of dicts.

    Each comes back as what it was, and what would come back changed is refused: columns of seconds, for example, which
    Parquet has as milliseconds. `compression` is "snappy", "zstd", "gzip", "brotli", "lz4" or None. It needs the extra
    ``dagcelery[arrow]``, and pandas for DataFrames.
    """

    compression: str | None = "snappy"

    kind: ClassVar[str] = "parquet"
    extension: ClassVar[str] = "parquet"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write a table, a group of rows at a time.

        Raises SerializationError naming the cell that a table cannot hold.
        """
        with writing("Parquet", _REMEDY, _NEEDS):
            import pyarrow
            from pyarrow import parquet

            schema, batches = _to_batches(value)
            _refuse_parquet_changes(schema, len(value))
            with parquet.ParquetWriter(writer, schema, compression=self.compression or "none") as file:
                while group := list(islice(batches, _BATCHES_A_GROUP)):
                    file.write_table(pyarrow.Table.from_batches(group, schema))

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read what `serialize` wrote, or any such file as a Table.

        Raises DeserializationError for anything else.
        """
        with reading("Parquet", _NEEDS):
            from pyarrow import parquet

            file = parquet.ParquetFile(reader)
            return _from_batches(file.schema_arrow, file.iter_batches(_BATCHES_A_GROUP * _BATCH_ROWS))


def _refuse_parquet_changes(schema: pyarrow.Schema, rows: int) -> None:
    """Raise SerializationError for the first column that would be of another type: a file without rows shows it."""
    from pyarrow import parquet, types

    trial = io.BytesIO()
    parquet.write_table(schema.empty_table(), trial, compression="none")
    trial.seek(0)
    back = parquet.read_schema(trial)
    is_frame = (schema.metadata or {}).get(_MARK) == _FRAME
    if is_frame:
        kinds, others = (_to_frame(each.empty_table()).dtypes for each in (schema, back))
        changed = [(name, *pair) for name, *pair in zip(kinds.index, kinds, others, strict=True) if pair[0] != pair[1]]
    else:
        pairs = zip(schema, back, strict=True)
        changed = [(field.name, *map(_type_text, (field, other))) for field, other in pairs if not field.equals(other)]
    for name, kind, other in changed:
        reason = f"is a column of {kind}, which would come back from Parquet as {other}"
        raise refused((name,), reason, "cast the column, or use AsArrow()")
    # Categories are in the pages of rows.
    for field in schema if is_frame and not rows else ():
        if types.is_dictionary(field.type):
            raise refused((field.name,), "has categories and no rows, and Parquet forgets them", "use AsArrow()")


def _type_text(field: pyarrow.Field) -> str:
    return f"{field.type}" if field.nullable else f"{field.type} without nulls"


# -- tables as batches of rows --------------------------------------------------------------------
def _to_batches(value: Any) -> tuple[pyarrow.Schema, Iterator[pyarrow.RecordBatch]]:
    """Return the schema of `value` and its rows, converted as they are asked for.

    Raises SerializationError, at once or on the way, for what is not a table or would come back changed.
    """
    import pyarrow

    if type(value) is pyarrow.Table:
        if _MARK in (value.schema.metadata or {}):
            raise refused((), f"has {_MARK!r} in its schema's metadata", "take it out: table.replace_schema_metadata()")
        return value.schema, _cut(value, value.schema)
    pandas = sys.modules.get("pandas")  # a DataFrame has imported it
    if pandas is not None and type(value) is pandas.DataFrame:
        table = _table_of(value)
        schema = _marked(table.schema, _FRAME)
        return schema, _cut(table, schema)
    rows = listed(value)
    if rows is None:
        raise refused((), f"is of type {type_name(value)}, which is not a table", _REMEDY)
    schema = _marked(_schema_of(rows), _ROWS)
    return schema, _checked_batches(rows, schema)


def _from_batches(schema: pyarrow.Schema, batches: Iterable[pyarrow.RecordBatch]) -> Any:
    """Return the value that `_to_batches` took. Raises what pyarrow and pandas raise."""
    import pyarrow

    mark = (schema.metadata or {}).get(_MARK)
    if mark == _ROWS:
        return [row for batch in map(_valid, batches) for row in batch.to_pylist()]
    table = pyarrow.Table.from_batches(list(map(_valid, batches)), schema)
    return _to_frame(table) if mark == _FRAME else table


def _valid(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    # Offsets that point elsewhere would have us read memory that is not the table's.
    batch.validate(full=True)
    return batch


def _cut(table: pyarrow.Table, schema: pyarrow.Schema) -> Iterator[pyarrow.RecordBatch]:
    """Yield the rows of `table`, without a copy; at least one batch, since dictionaries are kept in batches."""
    import pyarrow

    whole = table.unify_dictionaries()  # a file has one dictionary for all batches
    for batch in whole.to_batches(max_chunksize=_BATCH_ROWS):
        yield pyarrow.RecordBatch.from_arrays(batch.columns, schema=schema)
    if not table.num_rows:
        yield pyarrow.RecordBatch.from_arrays([column.combine_chunks() for column in whole.columns], schema=schema)


def _marked(schema: pyarrow.Schema, mark: bytes) -> pyarrow.Schema:
    return schema.with_metadata({**(schema.metadata or {}), _MARK: mark})


# -- frames ---------------------------------------------------------------------------------------
def _table_of(frame: pandas.DataFrame) -> pyarrow.Table:
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
        raise refused((), f"has a column that Arrow cannot hold: {error}", _CONVERT) from error
    _check_types(frame, _to_frame(table.slice(0, 0)))
    for name, values, column in _objects(frame, table):
        _check_objects(name, values, column)
    return table


def _to_frame(table: pyarrow.Table) -> pandas.DataFrame:
    """Return the frame that `_table_of` took; its columns are copies and may be written to."""
    import pandas

    frame = table.to_pandas()
    for at, kind in enumerate(frame.dtypes):
        if isinstance(kind, pandas.CategoricalDtype):  # the only one that pyarrow does not copy
            frame.isetitem(at, frame.iloc[:, at].copy())
    return frame


def _check_types(frame: pandas.DataFrame, back: pandas.DataFrame) -> None:
    """Compare all but the values; `back` is what a table without rows becomes."""
    for name, kind, other in zip(frame.columns, frame.dtypes, back.dtypes, strict=False):
        if kind != other:
            raise refused((name,), f"is a column of {kind}, which would come back as {other}", _CONVERT)
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

    for at, (value, back, is_missing) in enumerate(zip(values, column.to_pandas(), pandas.isna(values), strict=True)):
        if not is_same(value, back) and not (is_missing and pandas.api.types.is_scalar(back) and pandas.isna(back)):
            raise refused_change((name, at), value, back, _CONVERT)


# -- lists of dicts -------------------------------------------------------------------------------
def _schema_of(rows: Sequence[Any]) -> pyarrow.Schema:
    """Find the type of each column; one that is all None so far takes the type that follows."""
    import pyarrow

    names: list[str] | None = None
    schema = pyarrow.schema([])
    for lo, chunk in _chunks(rows):
        names = _names_of(chunk, lo, names)
        columns = pyarrow.schema([(name, _column(chunk, lo, name, None).type) for name in names])
        try:
            schema = pyarrow.unify_schemas([schema, columns])
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
    while chunk := list(islice(left, _BATCH_ROWS)):
        yield lo, chunk
        lo += len(chunk)


def _names_of(chunk: list[Any], lo: int, names: list[str] | None) -> list[str]:
    """Return the keys that all these rows have, which are `names` if there were rows before."""
    for at, row in enumerate(chunk, lo):
        if type(row) is not dict or not row or not all(type(key) is str for key in row):
            raise refused((at,), f"is {short(row)} of type {type_name(row)}, not a dict with str keys", _REMEDY)
        names = names or list(row)
        if len(row) != len(names) or not all(name in row for name in names):
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
        at = None if kind is None else next((at for at, value in enumerate(values) if not _fits(value, kind)), None)
        path = (name,) if at is None else (lo + at, name)
        raise refused(path, f"cannot be put into an Arrow column: {error}", _REMEDY) from error
    if kind is not None:
        for at, (value, back) in enumerate(zip(values, column.to_pylist(), strict=True)):
            if not is_same(value, back):
                raise refused_change((lo + at, name), value, back, _REMEDY)
    return column


def _fits(value: Any, kind: Any) -> bool:
    import pyarrow

    try:
        pyarrow.array([value], type=kind)
    except Exception:
        return False
    return True
