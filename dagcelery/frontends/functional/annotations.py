"""What the annotation of a value promises of it, of its parts and of its elements: types, sizes and serializers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeAlias, get_args, get_origin

from dagcelery.model.options import Serialize, Serializer
from dagcelery.model.sources import PathStep
from dagcelery.signatures import Unread, bare, fields

Path: TypeAlias = tuple[PathStep, ...]


def arity(hint: Any) -> int | None:
    """Return how many values a fixed tuple or a named tuple has; None if it may have any number."""
    hint = bare(hint)
    if is_named_tuple(hint):
        return len(vars(hint)["_fields"])
    if get_origin(hint) is not tuple:
        return None
    args = get_args(hint)
    return None if Ellipsis in args else len(args)


def is_named_tuple(hint: object) -> Any:
    return isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields")


def is_list(hint: object) -> bool:
    """Whether an annotation says `list`, with or without its elements."""
    hint = bare(hint)
    return (get_origin(hint) or hint) is list


def element_of(hint: object) -> object:
    """Return the type of what iterating a `hint` gives; None where the annotation does not say."""
    hint = bare(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        return args[0] if len(args) == 2 and args[1] is Ellipsis else None
    return args[0] if isinstance(origin, type) and issubclass(origin, Iterable) and args else None


def hint_at(hint: object, path: Path) -> object:
    """Return the type of what lies at `path` within a `hint`; None where the annotation does not say."""
    for step in path:
        hint = _part(bare(hint), step)
    return hint


def _part(hint: object, step: PathStep) -> object:
    kind, name = step
    if isinstance(hint, type) and kind == "property":
        return _fields(hint).get(str(name))
    if isinstance(hint, type) and hasattr(hint, "__total__"):
        return _fields(hint).get(str(name))
    if is_named_tuple(hint):
        return _item(list(_fields(hint).values()), name)
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple and Ellipsis not in args:
        return _item(args, name)
    if isinstance(origin, type) and issubclass(origin, Mapping) and len(args) == 2:
        return args[1]
    return element_of(hint)


def _item(items: Any, index: object) -> object:
    return items[index] if isinstance(index, int) and -len(items) <= index < len(items) else None


def _fields(cls: Any) -> dict[str, object]:
    hints: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        hints |= fields(base)
    return hints


def serializer_of(hint: object) -> Serializer | Serialize | None:
    """Return the serializer within ``Annotated[T, AsParquet()]``."""
    if get_origin(hint) is not Annotated:
        return None
    return next(filter(_is_serializer, get_args(hint)[1:]), None)


def serializer_at(option: Serializer | Serialize | None, hint: object, path: Path) -> Serializer | None:
    """Return the serializer for what lies at `path` of a returned value: the nearest one that was named."""
    nearest = serializer_of(hint_at(hint, path)) if path else None
    if isinstance(nearest, Serializer):
        return nearest
    named = option or serializer_of(hint)
    if isinstance(named, Serialize):
        return named.at(path)
    return named


def _is_serializer(metadata: object) -> bool:
    return not isinstance(metadata, type | Unread) and isinstance(metadata, Serializer | Serialize)
