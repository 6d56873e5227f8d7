"""Serializers say how values become bytes; a task may have one for each part of its returned value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Protocol, runtime_checkable

from dagcelery.errors import InvalidDag
from dagcelery.text import shown


@runtime_checkable
class Serializer(Protocol):
    """A class that carries values; `None` in place of one means the default of the DAG."""

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

    def at(self, path: Sequence[tuple[str, str | int]]) -> Serializer | None:
        """Return the serializer of what lies at `path` in the value."""
        # One that is named for out["a"] says nothing about what lies within that, out["a"]["b"].
        return (self._sub.get(str(path[0][1])) if len(path) == 1 else None) or self._root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Serialize) and (self._root, self._sub) == (other._root, other._sub)

    def __hash__(self) -> int:
        return hash(frozenset(self._sub))

    def __repr__(self) -> str:
        named = {"root": self._root, **self._sub}
        return f"Serialize({', '.join(f'{name}={value!r}' for name, value in named.items())})"


def check_serializer(serializer: object) -> None:
    """Refuse a value that could not serialize, above all a class in the place of its instance."""
    if isinstance(serializer, Serialize):
        for part in serializer:
            check_serializer(part)
        return
    if isinstance(serializer, type) or not isinstance(serializer, Serializer | None):
        raise InvalidDag(
            f"serializer={shown(serializer)}",
            "is not a serializer",
            "give an object with extension, serialize(value, writer) and deserialize(reader): AsPickle()",
        )
