"""`dagger.serializer`: serializers and their errors."""

from typing import Final

from dagcelery.errors import DeserializationError, SerializationError
from dagcelery.model import Serializer
from dagcelery.payload.codecs import AsJSON, AsPickle

__all__ = ["AsJSON", "AsPickle", "DefaultSerializer", "DeserializationError", "SerializationError", "Serializer"]

DefaultSerializer: Final = AsJSON()
