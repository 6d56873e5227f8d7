"""The public modules of py-dagger: put ``dagcelery.compat.`` before ``dagger`` in imports."""

from typing import Final

from dagcelery.compat.dagger import dsl
from dagcelery.compat.dagger.dag import DAG
from dagcelery.compat.dagger.input import FromNodeOutput, FromParam
from dagcelery.compat.dagger.output import FromKey, FromProperty, FromReturnValue
from dagcelery.compat.dagger.serializer import AsJSON, AsPickle, DeserializationError, SerializationError, Serializer
from dagcelery.compat.dagger.task import Task

__all__ = [
    "DAG",
    "AsJSON",
    "AsPickle",
    "DeserializationError",
    "FromKey",
    "FromNodeOutput",
    "FromParam",
    "FromProperty",
    "FromReturnValue",
    "SerializationError",
    "Serializer",
    "Task",
    "__version__",
    "dsl",
]

__version__: Final = "0.4.2"
"""The version whose interface this is."""
