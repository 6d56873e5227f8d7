"""Rules for one source by itself, whatever it lies in: how it is made, and how deeply its value is nested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.model.serializing import check_serializer
from dagcelery.model.sources import (
    SOURCES,
    Each,
    FromNodeOutput,
    FromParam,
    ListOf,
    Literal,
    Part,
    Source,
    Splice,
    parts,
    walk,
)
from dagcelery.text import listed, shown

MOST_LEVELS: Final = 100
"""Values are planned, written and read by recursion, of which Python allows about 1,000 steps."""

MOST_NESTED_DAGS: Final = 100

_CONTAINERS: Final = frozenset({list, tuple, dict, set, frozenset})


def check_source(place: str, part: Source | Splice) -> None:
    """Check that a source is made of tuples, and its value not nested too deeply.

    Raises InvalidDag, which names `place`.
    """
    if isinstance(part, FromParam | FromNodeOutput):
        check_serializer(part.serializer)
    value = part.value if isinstance(part, Literal) else getattr(part, "default_value", None)
    if fault := depth_fault(value):
        raise InvalidDag(place, *fault)
    items = getattr(part, "items", getattr(part, "pairs", getattr(part, "steps", ())))
    if not isinstance(items, tuple):
        kind = type(part).__name__
        raise InvalidDagType(f"{place}: {kind}", f"is made of {shown(items)}, not a tuple", f"write {kind}((..., ...))")


def depth_fault(value: object) -> tuple[str, str] | None:
    """Return the problem of a value that is nested too deeply, with its place, and the remedy; else None."""
    if type(value) not in _CONTAINERS:
        return None
    path: list[tuple[Any, Iterator[tuple[Any, Any]]]] = [(value, _parts(value))]
    keys: list[Any] = []
    while path:
        key, part = next(path[-1][1], (None, None))
        if part is None:
            path.pop()
            if keys:
                keys.pop()
            continue
        keys.append(key)
        if any(part is above for above, _ in path):
            return f"contains itself at {_at(keys)}", "break the cycle, or make the value in a task"
        if len(path) >= MOST_LEVELS:
            problem = f"is nested more than {MOST_LEVELS} levels deep, at {_at(keys[:3])}..."
            return problem, "make it flatter, or pass it as a parameter that is serialized with AsPickle()"
        path.append((part, _parts(part)))
    return None


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the containers in a container, with their keys."""
    pairs: Iterable[tuple[Any, Any]] = value.items() if type(value) is dict else enumerate(value)
    return ((key, part) for key, part in pairs if type(part) in _CONTAINERS)


def _at(keys: list[Any]) -> str:
    return "".join(f"[{shown(key, 60)}]" for key in keys)


READABLE = "FromParam(...) or FromNodeOutput(...)"


def check_sources(place: str, source: object) -> None:
    """Check that `source` is a source, made of parts that it may have.

    Raises InvalidDag, which names `place`.
    """
    if not isinstance(source, SOURCES):
        raise InvalidDagType(
            place,
            f"is of type {type(source).__name__!r}",
            f"use one of {listed([kind.__name__ for kind in SOURCES], 'or')}; Literal(...) holds a value",
        )
    for part in walk(source):
        check_source(place, part)
        if isinstance(part, Splice) and not isinstance(part.over, FromParam | FromNodeOutput):
            raise InvalidDagType(f"{place}: over={shown(part.over)}", "is not a list", f"give {READABLE}")
        for inner in parts(part):
            if isinstance(inner, Splice):
                if not isinstance(part, ListOf):
                    raise InvalidDagType(f"{place}: a Splice", "is not in a ListOf", "put it into one")
            elif not isinstance(inner, _allowed_in(part)):
                kind = type(part).__name__
                problem = f"cannot hold {shown(inner)} of type {type(inner).__name__!r}"
                raise InvalidDagType(f"{place}: {kind}", problem, "put values into Literal(...)")


def _allowed_in(part: Source | Splice) -> tuple[type[Source], ...]:
    if isinstance(part, Each):
        return (FromParam, FromNodeOutput)
    return (FromParam, FromNodeOutput, Each) if isinstance(part, Part) else SOURCES
