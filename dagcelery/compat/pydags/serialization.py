"""`pydags.serialization`: objects to bytes and back; read only your own bytes, since reading can run code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, ClassVar

from dagcelery import model
from dagcelery.errors import DeserializationError, SerializationError
from dagcelery.payload.codecs import AsPickle
from dagcelery.payload.formats.dill import AsDill

__all__ = [
    "CloudPickleSerializer",
    "DillSerializer",
    "InvalidTypeForDeserializationException",
    "PickleSerializer",
    "SerializationException",
    "Serializer",
]

SerializationException = SerializationError


class InvalidTypeForDeserializationException(DeserializationError, SerializationException):
    """What should be read is not bytes."""


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Say in the errors of a block what cannot be turned into bytes, or made of them."""
    try:
        yield
    except (SerializationError, DeserializationError) as error:
        raise type(error)(what, error.problem, error.remedy) from error.__cause__


class Serializer:
    """Turns an object into bytes, and back."""

    serializer: ClassVar[model.Serializer]

    def serialize(self, obj: object) -> bytes:
        """Return an object as bytes.

        Raises SerializationError.
        """
        writer = BytesIO()
        self.serializer.serialize(obj, writer)
        return writer.getvalue()

    def deserialize(self, serialized_obj: bytes) -> Any:
        """Return the object that the bytes hold.

        Raises DeserializationError.
        """
        if not isinstance(serialized_obj, bytes):
            kind = type(serialized_obj).__name__
            raise InvalidTypeForDeserializationException("what should be read", f"is of type {kind}", "give bytes")
        return self.serializer.deserialize(BytesIO(serialized_obj))


class PickleSerializer(Serializer):
    """With pickle; functions and classes of a script are included with their code."""

    serializer = AsPickle()


class CloudPickleSerializer(Serializer):
    """The same."""

    serializer = AsPickle()


class DillSerializer(Serializer):
    """With dill, which needs the extra `dill`."""

    serializer = AsDill()
