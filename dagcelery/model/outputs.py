"""An output says which part of a task's returned value is kept, how, and whether by element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from dagcelery.model.reprs import constructor_repr
from dagcelery.model.serializers import Serializer
from dagcelery.model.sources import PathStep


@dataclass(frozen=True, slots=True)
class FromReturnValue:
    """The whole returned value."""

    serializer: Serializer | None = None
    is_partitioned: bool = False

    __repr__ = constructor_repr

    @property
    def steps(self) -> tuple[PathStep, ...]:
        """The way into the returned value: none, it is the value."""
        return ()


@dataclass(frozen=True, slots=True)
class FromKey:
    """The item at key `name` of the returned mapping."""

    name: str
    serializer: Serializer | None = None
    is_partitioned: bool = False

    __repr__ = constructor_repr

    @property
    def steps(self) -> tuple[PathStep, ...]:
        """The way into the returned value: one key."""
        return (("key", self.name),)


@dataclass(frozen=True, slots=True)
class FromProperty:
    """The attribute `name` of the returned object."""

    name: str
    serializer: Serializer | None = None
    is_partitioned: bool = False

    __repr__ = constructor_repr

    @property
    def steps(self) -> tuple[PathStep, ...]:
        """The way into the returned value: one attribute."""
        return (("property", self.name),)


@dataclass(frozen=True, slots=True)
class FromPath:
    """What is found by following several keys and properties: ``out["a"].b[0]``."""

    steps: tuple[PathStep, ...]
    serializer: Serializer | None = None
    is_partitioned: bool = False

    __repr__ = constructor_repr


TaskOutput: TypeAlias = FromReturnValue | FromKey | FromProperty | FromPath

OUTPUTS: Final = (FromReturnValue, FromKey, FromProperty, FromPath)
