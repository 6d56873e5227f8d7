"""A serializer turns values into bytes and back; `Serialize` names one for each part of a returned value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol, runtime_checkable


@runtime_checkable
class Serializer(Protocol):
    """What a class must have to carry values; `None` in place of one means the default of the DAG."""

    @property
    def extension(self) -> str:
        """The ending of the names of files that it writes, without a dot."""

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write `value` to `writer`, and leave `writer` open."""

    def deserialize(self, reader: BinaryIO) -> Any:
        """Return the value whose bytes `reader` gives."""


class Serialize:
    """Serializers for a task's returned value: `root` for the whole, keywords for its keys or properties."""

    def __init__(self, root: Serializer | None = None, **sub: Serializer) -> None:
        self._root = root
        self._sub = sub

    @property
    def root(self) -> Serializer | None:
        """The serializer of the whole value, and of the keys that have none of their own."""
        return self._root

    def __iter__(self) -> Iterator[Serializer | None]:
        """Yield every serializer in it."""
        return iter((self._root, *self._sub.values()))

    def sub_output(self, name: str) -> Serializer | None:
        """Return the serializer given for the key or property called `name`, None where there is none."""
        return self._sub.get(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Serialize) and (self._root, self._sub) == (other._root, other._sub)

    def __hash__(self) -> int:
        return hash(frozenset(self._sub))

    def __repr__(self) -> str:
        given = {"root": self._root, **self._sub}
        return f"Serialize({', '.join(f'{name}={value!r}' for name, value in given.items())})"
