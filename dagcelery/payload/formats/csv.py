"""AsCSV: rows as comma-separated values, with or without a header and types of columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Final

from dagcelery.errors import DeserializationError, InvalidDag
from dagcelery.payload.formats import VALUE, listed, reading, refused, writing
from dagcelery.text import CLEAN, SURROGATE, is_encodable, short, shown, type_name

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
