"""AsAvro: lists of records as Avro files, with a schema that travels in the plan."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO, ClassVar, Final, cast

from dagcelery.errors import InvalidDag
from dagcelery.payload.formats import is_same, listed, reading, refused, refused_change, writing
from dagcelery.text import choices, one_line, short, shown, type_name

_NEEDS: Final = {"fastavro": "dagcelery[avro]"}

_REMEDY: Final = "give it a list of values that its schema describes, or use AsMessagePack()"

_COMPRESS: Final = 'install that library, or choose a compression that needs none, such as "deflate"'

_CONVERT: Final = "convert it, choose a type that holds it, such as double or timestamp-micros, or use AsPickle()"

_SCHEMA: Final = 'give it as {"type": "record", "name": ..., "fields": [...]}, or as its text in JSON'

_COMPRESSIONS: Final = ("deflate", "bzip2", "xz", "snappy", "zstandard", "lz4")

_DEEPEST: Final = 100

_ROWS: Final = "dagcelery.rows"
"""The entry of a file's header with the number of its records: a file that is cut between blocks would be valid."""

_STRICT: Final[Mapping[str, Any]] = {"strict": True, "disable_tuple_notation": True}


@dataclass(frozen=True, slots=True)
class AsAvro:
    """Serialize lists as Avro object container files: each element is one datum of `schema`, usually a record.

    What the schema does not describe exactly, and what would come back changed, is refused: a missing or an unknown
    field, a number that its type would round, a time in a zone other than UTC. Tuples come back as lists. Files of
    other programs are read as Avro says, if their schema can be resolved to this one. `compression` is "deflate",
    "bzip2", "xz" or None, and, if their libraries are installed, "snappy", "zstandard" or "lz4". It needs the extra
    ``dagcelery[avro]``. Raises InvalidDag for a schema that is none, or that contains itself.
    """

    schema: Mapping[str, Any] | Sequence[Any] | str
    compression: str | None = "deflate"

    kind: ClassVar[str] = "avro"
    extension: ClassVar[str] = "avro"

    def __post_init__(self) -> None:
        # Kept as text: it can be compared and hashed, and a plan can hold it.
        object.__setattr__(self, "schema", _as_text(self.schema))
        if self.compression not in (None, *_COMPRESSIONS):
            remedy = f"{choices(self.compression, _COMPRESSIONS)}, and None"
            raise InvalidDag(f"AsAvro: compression {shown(self.compression)}", "is not known", remedy)

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write the records, a block at a time.

        Raises SerializationError naming what the schema does not describe, or what would change.
        """
        # Rows are checked one by one, so what else fails is a compression that is not Python's own.
        with writing("Avro", _COMPRESS if self.compression in _COMPRESSIONS[3:] else _REMEDY, _NEEDS):
            import fastavro

            rows = listed(value)
            if rows is None:
                raise refused((), f"is of type {type_name(value)}, and Avro files hold lists", _REMEDY)
            schema = _parsed(str(self.schema))
            fastavro.writer(
                cast(Any, _Forward(writer)),
                schema,
                _checked(rows, schema),
                codec=self.compression or "null",
                metadata={_ROWS: str(len(rows))},
                # At random by default; equal values have equal bytes.
                sync_marker=hashlib.blake2b(str(self.schema).encode(), digest_size=16).digest(),
                **_STRICT,
            )

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read what `serialize` wrote, or any Avro file whose schema can be resolved to this one.

        Raises DeserializationError for anything else.
        """
        with reading("Avro", _NEEDS):
            import fastavro

            file = fastavro.reader(reader, reader_schema=_parsed(str(self.schema)))
            _check(file.writer_schema)
            rows = list(file)
            count = file.metadata.get(_ROWS)
            if count is not None and count != str(len(rows)):
                raise ValueError(f"it ends after {len(rows):,} of {count} records")
            return rows


class _Forward:
    """A file that can only be written: fastavro would append to one that can seek, if something is in it already."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        """Leave that to the owner of the file."""


# -- values ---------------------------------------------------------------------------------------
def _checked(rows: Sequence[Any], schema: Any) -> Iterator[Any]:
    """Yield rows that come back as they are.

    fastavro rounds, and drops what it does not expect, without a word: so each row is read again before it is written.
    """
    import fastavro
    from fastavro.validation import validate

    for index, row in enumerate(rows):
        plain = io.BytesIO()
        try:
            validate(row, schema, raise_errors=True, **_STRICT)
            fastavro.schemaless_writer(plain, schema, row, **_STRICT)
        except Exception as error:  # of many kinds, also those of the codecs of texts
            reason = f"does not fit the schema: {one_line(str(error))}"
            raise refused((index,), reason, _REMEDY) from error
        plain.seek(0)
        back = fastavro.schemaless_reader(plain, schema, None)
        if not is_same(row, back):
            path, value, other = _change(row, back, (index,))
            raise refused_change(path, value, other, _CONVERT)
        yield row


def _change(value: Any, back: Any, path: tuple[object, ...]) -> tuple[tuple[object, ...], Any, Any]:
    """Return the place of the first thing in a value that has changed, as it is and as it would be."""
    items = listed(value)
    pairs: Iterator[tuple[object, Any]] = iter(())
    if type(value) is dict and type(back) is dict and value.keys() == back.keys():
        pairs = iter(value.items())
    elif items is not None and type(back) is list and len(items) == len(back):
        pairs = enumerate(items)
    for key, item in pairs:
        if not is_same(item, back[key]):
            return _change(item, back[key], (*path, key))
    return path, value, back


# -- schemas --------------------------------------------------------------------------------------
def _as_text(schema: object) -> str:
    try:
        is_json = isinstance(schema, str) and schema.strip()[:1] in ("{", "[", '"')
        text = json.dumps(json.loads(str(schema)) if is_json else schema, sort_keys=True)
        _parsed(text)
    except ImportError:
        return text  # whoever writes or reads a value is told
    except Exception as error:  # fastavro has errors of many kinds
        problem = f"is not one of Avro: {type(error).__name__}: {one_line(str(error))}"
        raise InvalidDag(f"AsAvro: schema {short(schema)}", problem, _SCHEMA) from error
    return text


@lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    import fastavro

    schema = fastavro.parse_schema(json.loads(text))
    _check(schema)
    return schema


def _check(schema: Any) -> None:
    """Raise ValueError for a parsed schema whose values could end this process, or never end.

    fastavro follows values on C's stack, which those of a schema that contains itself can exhaust; and of what takes no
    bytes a few bytes may announce any number.
    """
    _takes_bytes(schema, {}, 0)


def _takes_bytes(schema: Any, known: dict[str, bool | None], depth: int) -> bool:
    """Return whether values of a schema take bytes; `known` says it of those with names, None within themselves."""
    if depth > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} deep")
    if isinstance(schema, str):
        takes = known.get(schema, schema != "null")
        if takes is None:
            raise ValueError(f"{schema} contains itself")
        return takes
    if isinstance(schema, list):
        for branch in schema:
            _takes_bytes(branch, known, depth + 1)
        return True
    kind = schema["type"]
    if kind in ("record", "error"):
        known[schema["name"]] = None
        parts = [_takes_bytes(field["type"], known, depth + 1) for field in schema["fields"]]
        takes = any(parts)
    elif kind == "array":
        takes = _takes_bytes(schema["items"], known, depth + 1)
        if not takes:
            raise ValueError("it has an array of what takes no bytes")
    elif kind == "map":
        takes = _takes_bytes(schema["values"], known, depth + 1) or True
    else:
        takes = kind != "fixed" or schema["size"] > 0
        takes = takes if kind in ("enum", "fixed") else _takes_bytes(kind, known, depth + 1)
    if "name" in schema:
        known[schema["name"]] = takes
    return takes
