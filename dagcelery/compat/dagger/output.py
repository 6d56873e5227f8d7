"""`dagger.output`: parts of a task's return value."""

from __future__ import annotations

from collections.abc import Mapping
from types import GenericAlias
from typing import Any, Protocol, runtime_checkable

from dagcelery.compat.dagger import old_paths
from dagcelery.compat.dagger.old_texts import check_name
from dagcelery.compat.dagger.serializer import DefaultSerializer
from dagcelery.model import Serializer, nodes

__all__ = ["FromKey", "FromProperty", "FromReturnValue", "Output", "validate_name"]


@runtime_checkable
class Output(Protocol):
    """What every output has."""

    serializer: Serializer
    is_partitioned: bool

    def from_function_return_value(self, return_value: Any) -> Any:
        """Return the value of this output.

        Raises TypeError or ValueError where the returned value does not have it.
        """


class FromReturnValue(nodes.FromReturnValue):
    """The whole returned value."""

    serializer: Serializer
    __class_getitem__: Any = classmethod(GenericAlias)

    def __init__(self, serializer: Serializer = DefaultSerializer, is_partitioned: bool = False) -> None:
        super().__init__(serializer, is_partitioned)

    def from_function_return_value(self, return_value: Any) -> Any:
        """Return the value itself."""
        return return_value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, nodes.FromReturnValue) and self.serializer == other.serializer

    __hash__ = nodes.FromReturnValue.__hash__

    def __repr__(self) -> str:
        return f"FromReturnValue(serializer={self.serializer}, is_partitioned={self.is_partitioned})"


class FromKey(nodes.FromKey):
    """The item at key `name` of the returned mapping."""

    serializer: Serializer
    __class_getitem__: Any = classmethod(GenericAlias)

    def __init__(self, name: Any, serializer: Serializer = DefaultSerializer, is_partitioned: bool = False) -> None:
        super().__init__(name, serializer, is_partitioned)

    def from_function_return_value(self, return_value: Any) -> Any:
        """Return the item.

        Raises TypeError if the value is not a mapping, and ValueError if it does not have the key.
        """
        mapping = f"the return value of the function to be a mapping containing, at least, a key named '{self.name}'"
        if not isinstance(return_value, Mapping):
            raise TypeError(f"This output is of type FromKey. This means we expect {mapping}")
        try:
            return return_value[self.name]
        except KeyError:
            raise ValueError(f"An output of type FromKey('{self.name}') expects {mapping}") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, nodes.FromKey) and (self.name, self.serializer) == (other.name, other.serializer)

    __hash__ = nodes.FromKey.__hash__

    def __repr__(self) -> str:
        return f"FromKey(key={self.name}, serializer={self.serializer}, is_partitioned={self.is_partitioned})"


class FromProperty(nodes.FromProperty):
    """The attribute `name` of the returned object."""

    serializer: Serializer

    def __init__(self, name: str, serializer: Serializer = DefaultSerializer, is_partitioned: bool = False) -> None:
        super().__init__(name, serializer, is_partitioned)

    def from_function_return_value(self, return_value: Any) -> Any:
        """Return the attribute.

        Raises TypeError if there is none.
        """
        if hasattr(return_value, self.name):
            return getattr(return_value, self.name)
        raise TypeError(
            "This output is of type FromProperty. This means we expect the return value of the function to be an "
            f"object with a property named '{self.name}'"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, nodes.FromProperty) and (self.name, self.serializer) == (other.name, other.serializer)

    __hash__ = nodes.FromProperty.__hash__

    def __repr__(self) -> str:
        return f"FromProperty(name={self.name}, serializer={self.serializer}, is_partitioned={self.is_partitioned})"


def validate_name(name: str) -> None:
    """Refuse a name that no output may have.

    Raises InvalidDag, which is a ValueError.
    """
    check_name("an output", "Outputs", name)


old_paths.register(__name__)
