"""Serializers say how values become bytes: what one is, and which one holds for a value or for a part of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, BinaryIO, Protocol, get_args, get_origin, runtime_checkable

from dagcelery.errors import InvalidDag
from dagcelery.signatures import Unread, hint_at
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
    if serializer is None:
        return
    if isinstance(serializer, Serialize):
        for part in serializer:
            check_serializer(part)
        return
    if isinstance(serializer, type) or not isinstance(serializer, Serializer):
        raise InvalidDag(
            f"serializer={shown(serializer)}",
            "is not a serializer",
            "give an object with extension, serialize(value, writer) and deserialize(reader): AsPickle()",
        )


def serializer_of(hint: object) -> Serializer | Serialize | None:
    """Return the serializer within ``Annotated[T, AsParquet()]``."""
    if get_origin(hint) is not Annotated:
        return None
    return next(filter(_is_serializer, get_args(hint)[1:]), None)


def serializer_at(
    option: Serializer | Serialize | None, hint: object, path: Sequence[tuple[str, str | int]]
) -> Serializer | None:
    """Return the serializer for what lies at `path` of a returned value: the nearest one that was named."""
    nearest = serializer_of(hint_at(hint, path)) if path else None
    if nearest is not None and not isinstance(nearest, Serialize):
        return nearest
    named = option or serializer_of(hint)
    if isinstance(named, Serialize):
        return named.at(path)
    return named


def _is_serializer(metadata: object) -> bool:
    return not isinstance(metadata, type | Unread) and isinstance(metadata, Serializer | Serialize)
