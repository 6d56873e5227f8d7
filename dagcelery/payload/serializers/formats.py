"""Serializers that each need a library, or none: comma-separated values, MessagePack, and pickle as dill writes it."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Final

from dagcelery.errors import DeserializationError, InvalidDag
from dagcelery.payload import pickles
from dagcelery.payload.serializers.refusals import (
    CLEAN,
    SURROGATE,
    VALUE,
    is_encodable,
    listed,
    reading,
    refused,
    short,
    type_name,
    writing,
)
from dagcelery.text import shown

_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": {"true": True, "false": False}.__getitem__,
}

_BUFFER_ROWS: Final = 1024

_ROWS: Final = "give it a list of dicts, or with header=False a list of rows, or use AsJSON()"


@dataclass(frozen=True, slots=True)
class AsCSV:
    """Serialize rows as UTF-8 text, one a line, as RFC 4180 says; what would come back changed is refused.

    With a header the value is a list of dicts that all have the same keys; without, a list of rows (tuples come back
    as lists). CSV has no types: cells are str, and a number is refused, unless `columns` names the type of its column:
    ``AsCSV(columns={"name": str, "age": int})``, with str, int, float and bool. Then these are the columns that every
    row has, in this order. None is refused, since an empty cell is the empty str. Raises InvalidDag for other options.
    """

    columns: Mapping[str, type | str] | Iterable[Sequence[Any]] | None = None
    header: bool = True
    delimiter: str = ","

    kind: ClassVar[str] = "csv"
    extension: ClassVar[str] = "csv"

    def __post_init__(self) -> None:
        # Kept as pairs of names: they can be compared and hashed, and a plan can hold them.
        if self.columns is not None:
            object.__setattr__(self, "columns", _pairs(self.columns))
        if type(self.delimiter) is not str or len(self.delimiter) != 1 or self.delimiter in '\r\n"':
            remedy = 'use one character, such as "," or ";"'
            raise InvalidDag(f"AsCSV: delimiter {shown(self.delimiter)}", "cannot separate cells", remedy)

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write the rows, a thousand at a time.

        Raises SerializationError naming the cell that CSV would change.
        """
        with writing("CSV", _ROWS):
            rows = listed(value)
            if rows is None:
                raise refused((), f"is of type {type_name(value)}, and CSV holds rows", _ROWS)
            text = io.StringIO(newline="")
            out = csv.writer(text, delimiter=self.delimiter)
            for number, line in enumerate(self._dicts(rows) if self.header else self._lists(rows), 1):
                out.writerow(line)
                if number % _BUFFER_ROWS == 0:
                    writer.write(text.getvalue().encode())
                    text.seek(0)
                    text.truncate()
            writer.write(text.getvalue().encode())

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read what `serialize` wrote, or any such file.

        Raises DeserializationError naming the line that cannot be read.
        """
        with reading("CSV"):
            # Line ends within quotes are the cell's own.
            text = io.TextIOWrapper(reader, "utf-8", newline="")
            try:
                lines = csv.reader(text, delimiter=self.delimiter, strict=True)
                return list(self._read_dicts(lines) if self.header else self._read_lists(lines))
            finally:
                text.detach()

    def _dicts(self, rows: Sequence[Any]) -> Iterator[Iterable[str]]:
        names, kinds = self._named()
        for index, row in enumerate(rows):
            if type(row) is not dict or not row:
                reason = "has no keys" if type(row) is dict else f"is of type {type_name(row)}, not a dict"
                raise refused((index,), reason, _ROWS)
            if names is None:
                names = list(row)
            if index == 0:
                yield _checked(names, (), [])
            if row.keys() != set(names):
                reason = f"has the keys {short(list(row))}, and the columns are {short(names)}"
                raise refused((index,), reason, 'give every row the same keys, "" where there is nothing')
            yield _checked([row[name] for name in names], (index,), kinds, names)
        if not rows and names is not None:
            yield names

    def _lists(self, rows: Sequence[Any]) -> Iterator[Iterable[str]]:
        names, kinds = self._named()
        for index, row in enumerate(rows):
            cells = listed(row)
            if cells is None:
                raise refused((index,), f"is of type {type_name(row)}, not a list", _ROWS)
            if names is not None and len(cells) != len(names):
                reason = f"has {len(cells)} cells, and there are {len(names)} columns"
                raise refused((index,), reason, "give every row a cell for each column")
            yield _checked(cells, (index,), kinds)

    def _read_dicts(self, lines: Any) -> Iterator[dict[str, Any]]:
        names, kinds = self._named()
        header = next(lines, None)
        if header is None:
            return
        if names is not None and header != names:
            raise _unreadable(lines, f"has the columns {short(header)} in place of {short(names)}")
        for cells in lines:
            if cells:  # none are on an empty line
                yield dict(zip(header, _parsed(cells, len(header), kinds, lines), strict=True))

    def _read_lists(self, lines: Any) -> Iterator[list[Any]]:
        names, kinds = self._named()
        for cells in lines:
            yield _parsed(cells, len(cells) if names is None else len(names), kinds, lines)

    def _named(self) -> tuple[list[str] | None, list[str]]:
        """The names and types of the columns that were given; without any, all cells are str."""
        pairs: Any = self.columns
        return (None, []) if pairs is None else ([name for name, _ in pairs], [kind for _, kind in pairs])


def _pairs(columns: Mapping[str, type | str] | Iterable[Sequence[Any]]) -> tuple[tuple[str, str], ...]:
    remedy = 'give them as {"name": str, "age": int}; there are str, int, float and bool'
    try:
        items: Iterable[Any] = columns.items() if isinstance(columns, Mapping) else columns
        pairs = tuple((name, kind.__name__ if isinstance(kind, type) else kind) for name, kind in items)
    except (TypeError, ValueError) as error:
        raise InvalidDag(f"AsCSV: columns {short(columns)}", "are not names with their types", remedy) from error
    for name, kind in pairs:
        if type(name) is not str or type(kind) is not str or kind not in _PARSERS:
            raise InvalidDag(f"AsCSV: column {shown(name)} of type {shown(kind)}", "cannot be had in CSV", remedy)
    if not pairs or len({name for name, _ in pairs}) < len(pairs):
        raise InvalidDag(f"AsCSV: columns {short(pairs)}", "are empty, or name one twice", remedy)
    return pairs


def _checked(
    cells: Sequence[Any], path: tuple[object, ...], kinds: Sequence[str], names: Sequence[str] | None = None
) -> list[str]:
    texts = []
    for at, cell in enumerate(cells):
        kind, place = kinds[at] if kinds else "str", (*path, names[at] if names else at)
        if type(cell).__name__ != kind or type(cell).__module__ != "builtins":
            raise refused(place, *_wrong_type(cell, kind))
        text = cell if kind == "str" else str(cell).lower() if kind == "bool" else repr(cell)
        if not is_encodable(text):
            raise refused(place, SURROGATE, CLEAN)
        if len(text) > csv.field_size_limit():
            reason = f"is a cell of {len(text):,} characters, and csv.field_size_limit() is {csv.field_size_limit():,}"
            raise refused(place, reason, "use AsJSON(), or keep it in a file")
        texts.append(text)
    return texts


def _wrong_type(cell: object, kind: str) -> tuple[str, str]:
    if cell is None:
        return "is None, which CSV cannot tell from an empty str", 'use "" in its place, or AsJSON()'
    reason = f"is of type {type_name(cell)} in a column of {kind}"
    if kind == "str" and type(cell) in (int, float, bool):
        return reason, f"pass str(value), or name the types, as in AsCSV(columns={{...: {type_name(cell)}}})"
    return reason, f"pass a plain {kind}, or use AsJSON()"


def _parsed(cells: list[str], count: int, kinds: Sequence[str], lines: Any) -> list[Any]:
    if len(cells) != count:
        raise _unreadable(lines, f"has {len(cells)} cells in place of {count}")
    if not kinds:
        return cells
    try:
        return [_PARSERS[kind](cell) for kind, cell in zip(kinds, cells, strict=True)]
    except (ValueError, KeyError) as error:
        raise _unreadable(lines, f"has the cells {short(cells)} in columns of {', '.join(kinds)}") from error


def _unreadable(lines: Any, reason: str) -> DeserializationError:
    return DeserializationError(
        VALUE, f"line {lines.line_num} {reason}", "read it with the options it was written with"
    )


_NEEDS_DILL: Final = {"dill": "dagcelery[dill]"}


@dataclass(frozen=True, slots=True)
class AsDill:
    """Serialize with dill; such data is only read when it is signed, since unpickling runs code.

    It needs the extra ``dagcelery[dill]``.
    """

    kind: ClassVar[str] = "dill"
    extension: ClassVar[str] = "dill"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write `value`.

        Raises SerializationError if it holds something like a running thread or a socket.
        """
        remedy = "pass plain data, and open files, locks and connections where they are used"
        with writing("dill", remedy, _NEEDS_DILL):
            import dill

            _dill_classes(dill)[0](writer).dump(value)

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read what `serialize` wrote, once it was verified.

        Raises DeserializationError for anything else.
        """
        with reading("dill", _NEEDS_DILL):
            import dill

            return _dill_classes(dill)[1](reader).load()


@functools.cache
def _dill_classes(dill: Any) -> tuple[Any, Any]:
    """Return dill's two classes, changed to name what is defined in the module that runs as others import it."""

    class DillPickler(dill.Pickler):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self, file: BinaryIO) -> None:
            super().__init__(file, protocol=dill.HIGHEST_PROTOCOL)

        def save(self, value: Any, save_persistent_id: bool = True) -> None:
            reference = pickles.reference(value) if pickles.module_that_runs() and id(value) not in self.memo else None
            if reference is None:
                super().save(value, save_persistent_id)
            else:
                self.save_reduce(pickles.found, reference, obj=value)

    class DillUnpickler(dill.Unpickler):  # type: ignore[misc,name-defined,unused-ignore]
        def find_class(self, module: str, name: str) -> Any:
            main = pickles.module_that_runs()
            if module == main:
                return pickles.found(module, name)
            target = super().find_class(module, name)
            if module == "dill._dill" and name == "_create_namedtuple" and main is not None:
                return lambda *args: pickles.found(main, args[0]) if args[2] == main else target(*args)
            return target

    return DillPickler, DillUnpickler


_NEEDS_MSGPACK: Final = {"msgpack": "dagcelery[msgpack]"}

_SCALARS: Final = frozenset({str, bytes, int, float, bool, type(None)})

_CONTAINERS: Final = frozenset({list, dict})

_BECOMES: Final[Mapping[type, str]] = {
    **{kind: kind.__name__ for kind in (bool, int, float, str, bytes, dict, list)},
    tuple: "list",
    bytearray: "bytes",
    memoryview: "bytes",
}

_WRITTEN_BY_ITEM: Final = 3
"""Lists and dicts of so many levels are written item by item; those within them at once."""

_DEEPEST: Final = 250

_BUFFER_BYTES: Final = 64 * 1024

_REMEDY: Final = "convert it to str, bytes, int, float, bool, None, list or dict, or use AsPickle()"


@dataclass(frozen=True, slots=True)
class AsMessagePack:
    """Serialize as MessagePack: what would come back changed is refused, except that tuples become lists.

    Keys may be str, bytes, int, float, bool and None. Integers have at most 64 bits. NaN and infinities come back as
    they are; ``allow_nan=False`` refuses them all the same. Extension types and timestamps are refused, written and
    read. It needs the extra ``dagcelery[msgpack]``.
    """

    allow_nan: bool = True

    kind: ClassVar[str] = "msgpack"
    extension: ClassVar[str] = "msgpack"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write `value`, a part at a time.

        Raises SerializationError naming the path to what would change.
        """
        with writing("MessagePack", _REMEDY, _NEEDS_MSGPACK):
            import msgpack

            packer = msgpack.Packer(autoreset=False, default=list)
            for _ in _packed(packer, value, (), self.allow_nan):
                if packer.getbuffer().nbytes > _BUFFER_BYTES:
                    writer.write(packer.bytes())
                    packer.reset()
            writer.write(packer.bytes())

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read what `serialize` wrote.

        Raises DeserializationError for anything else, extension types too.
        """
        with reading("MessagePack", _NEEDS_MSGPACK):
            import msgpack

            limit = max(_bytes_left(reader), 1)  # no list is longer, whatever its header says
            unpacker = msgpack.Unpacker(reader, max_buffer_size=limit, strict_map_key=False, ext_hook=_no_extension)
            value = unpacker.unpack()
            if unpacker.tell() != limit:
                raise ValueError(f"it ends after {unpacker.tell():,} of {limit:,} bytes")
            _refuse_timestamps(value, msgpack.Timestamp)
            return value


def _packed(packer: Any, value: Any, path: tuple[object, ...], allow_nan: bool) -> Iterator[None]:
    """Pack `value`, and yield after each part, so that what was packed can be taken away."""
    items = listed(value)
    if len(path) < _WRITTEN_BY_ITEM and items is not None:
        packer.pack_array_header(len(items))
        for index, item in enumerate(items):
            yield from _packed(packer, item, (*path, index), allow_nan)
    elif len(path) < _WRITTEN_BY_ITEM and type(value) is dict:
        packer.pack_map_header(len(value))
        for key, item in value.items():
            _check_key(key, path, allow_nan)
            packer.pack(key)
            yield from _packed(packer, item, (*path, key), allow_nan)
    else:
        _check(value, path, allow_nan)
        packer.pack(value)
        yield


def _check(value: Any, path: tuple[object, ...], allow_nan: bool) -> None:
    kind = type(value)
    if len(path) > _DEEPEST:
        raise refused(path[:3], "is nested too deeply for MessagePack, or contains itself", "make it flatter")
    if kind in _SCALARS:
        _check_scalar(value, path, allow_nan)
    elif kind is dict:
        for key, item in value.items():
            _check_key(key, path, allow_nan)
            _check(item, (*path, key), allow_nan)
    elif (items := listed(value)) is not None:
        for index, item in enumerate(items):
            _check(item, (*path, index), allow_nan)
    else:
        raise refused(path, _wrong_msgpack_type(value), _REMEDY)


def _check_key(key: Any, path: tuple[object, ...], allow_nan: bool) -> None:
    if type(key) not in _SCALARS:
        reason = f"has the key {short(key)} of type {type_name(key)}, which MessagePack would change"
        raise refused(path, reason, "use str, bytes or int as keys, a list of pairs, or AsPickle()")
    _check_scalar(key, (*path, key), allow_nan)


def _check_scalar(value: Any, path: tuple[object, ...], allow_nan: bool) -> None:
    kind = type(value)
    if kind is int:
        if not -(2**63) <= value < 2**64:
            raise refused(path, "is an int of more than 64 bits", "pass str(value), or use AsJSON()")
    elif kind is str:
        if not is_encodable(value):
            raise refused(path, SURROGATE, CLEAN)
    elif kind is float and not allow_nan and value - value != 0:
        raise refused(path, f"is {value}", "use None in its place, or AsMessagePack(allow_nan=True)")


def _wrong_msgpack_type(value: object) -> str:
    for kind, plain in _BECOMES.items():
        if isinstance(value, kind):
            return f"is of type {type_name(value)}, which would come back as a plain {plain}"
    return f"is of type {type_name(value)}, which MessagePack does not have"


def _no_extension(code: int, data: bytes) -> None:
    raise DeserializationError(
        VALUE, f"holds an extension type, number {code}", "write it with AsMessagePack, which has plain types only"
    )


def _refuse_timestamps(value: Any, timestamp: type) -> None:
    # Timestamps are extension -1, which msgpack decodes without asking.
    kind = type(value)
    if kind is timestamp:
        _no_extension(-1, b"")
    items = value.values() if kind is dict else value if kind is list else ()
    kinds = set(map(type, items))
    if kind is dict and timestamp in set(map(type, value)):
        _no_extension(-1, b"")
    if timestamp in kinds or kinds & _CONTAINERS:
        for item in items:
            _refuse_timestamps(item, timestamp)


def _bytes_left(reader: BinaryIO) -> int:
    at = reader.tell()
    end = reader.seek(0, io.SEEK_END)
    reader.seek(at)
    return end - at
