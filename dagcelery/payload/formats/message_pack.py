"""AsMessagePack: plain values as MessagePack, written and read a part at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Final

from dagcelery.errors import DeserializationError
from dagcelery.payload.formats import VALUE, listed, reading, refused, writing
from dagcelery.text import CLEAN, SURROGATE, is_encodable, short, type_name

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
    """Pack `value`, and yield after each part, so that the packed bytes can be taken away."""
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
