"""`dagger.serializer`: serializers and their errors."""

from __future__ import annotations

import pickle
from json import JSONDecoder, JSONEncoder
from typing import Any, BinaryIO, ClassVar, Final, TypeAlias

from dagcelery import model
from dagcelery.compat.dagger import old_paths
from dagcelery.errors import DeserializationError, SerializationError
from dagcelery.model import Serializer
from dagcelery.payload import codecs
from dagcelery.payload.formats import plain_json

__all__ = [
    "AsJSON",
    "AsPickle",
    "DefaultSerializer",
    "DeserializationError",
    "JSONSerializableType",
    "SerializationError",
    "Serializer",
]

JSONSerializableType: TypeAlias = "bool | int | float | str | list[Any] | tuple[Any, ...] | dict[str, Any] | None"


class AsJSON:
    """JSON as ``json.dump`` writes it, with an encoder and a decoder of the user's, if any."""

    extension: ClassVar[str] = "json"

    def __init__(
        self,
        indent: int | None = None,
        allow_nan: bool = False,
        encoder: type[JSONEncoder] | None = None,
        decoder: type[JSONDecoder] | None = None,
    ) -> None:
        self._indent, self._allow_nan, self._encoder, self._decoder = indent, allow_nan, encoder, decoder

    @property
    def carried_as(self) -> Any:
        """The serializer that workers use for it, which they know: so the plan needs no pickle and no key."""
        if self._encoder or self._decoder:
            return self
        return plain_json.AsPlainJSON(self._indent, self._allow_nan)

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write `value` as UTF-8, and leave `writer` open.

        Raises SerializationError.
        """
        plain_json.write(value, writer, self._indent, self._allow_nan, self._encoder)

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read JSON.

        Raises DeserializationError.
        """
        return plain_json.read(reader, self._decoder)

    def _key(self) -> tuple[object, ...]:
        return self._indent, self._allow_nan, self._encoder, self._decoder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsJSON) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"AsJSON(indent={self._indent}, allow_nan={self._allow_nan})"


class AsPickle:
    """Pickle as the standard library writes it: what has no importable name is refused."""

    extension: ClassVar[str] = "pickle"
    carried_as: ClassVar[codecs.AsPickle] = codecs.AsPickle()

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write `value`.

        Raises SerializationError.
        """
        try:
            pickle.dump(value, writer)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise SerializationError(str(error)) from error

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read a pickle, which runs code: read what you trust.

        Raises DeserializationError.
        """
        try:
            return pickle.load(reader)
        except (pickle.UnpicklingError, AttributeError, EOFError, ImportError, LookupError, TypeError) as error:
            raise DeserializationError(str(error)) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsPickle)

    def __hash__(self) -> int:
        return hash(AsPickle)

    def __repr__(self) -> str:
        return "AsPickle()"


DefaultSerializer: Final = AsJSON()


class Serialize(model.Serialize):
    """Serializers for a task's returned value: `root` for the whole, keywords for its keys or properties."""

    def __init__(self, root: Serializer = DefaultSerializer, **sub: Serializer) -> None:
        super().__init__(root, **sub)

    def sub_output(self, output_name: str) -> Serializer | None:
        """Return the serializer that a key or a property has of its own."""
        return self._sub.get(output_name)


old_paths.register(__name__)
