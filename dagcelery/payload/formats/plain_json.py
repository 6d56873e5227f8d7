"""AsPlainJSON: JSON as Python's own ``json`` says values, for programs that were written for that."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

from dagcelery.errors import DeserializationError, SerializationError


@dataclass(frozen=True, slots=True)
class AsPlainJSON:
    """Serialize as ``json.dumps`` does, which changes what it takes: keys become texts, enum members their values.

    It is the serializer of older libraries; ours is `AsJSON`, which refuses what would come back changed.
    """

    indent: int | None = None
    allow_nan: bool = False

    kind: ClassVar[str] = "plain_json"
    extension: ClassVar[str] = "json"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write `value` as UTF-8.

        Raises SerializationError with the text of ``json``.
        """
        write(value, writer, self.indent, self.allow_nan)

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read any JSON.

        Raises DeserializationError.
        """
        return read(reader)


def write(
    value: Any, writer: BinaryIO, indent: int | None, allow_nan: bool, encoder: type[json.JSONEncoder] | None = None
) -> None:
    """Write `value` as ``json.dumps`` says it, with an encoder of the user's if there is one."""
    try:
        text = json.dumps(value, indent=indent, allow_nan=allow_nan, cls=encoder)
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(str(error)) from error
    writer.write(text.encode())


def read(reader: BinaryIO, decoder: type[json.JSONDecoder] | None = None) -> Any:
    """Return what ``json.load`` makes of a file, with a decoder of the user's if there is one."""
    try:
        return json.load(reader, cls=decoder)
    except (TypeError, ValueError, RecursionError, AttributeError) as error:
        raise DeserializationError(str(error)) from error
