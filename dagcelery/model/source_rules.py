"""Rules for one source by itself, whatever it lies in: how it is made, and how deeply its value is nested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.model.options import check_serializer
from dagcelery.model.sources import FromNodeOutput, FromParam, Literal, Source, Splice
from dagcelery.text import shown

MOST_LEVELS: Final = 100
"""Values are planned, written and read by recursion, of which Python allows about 1,000 steps."""
MOST_NESTED_DAGS: Final = 100

_CONTAINERS: Final = frozenset({list, tuple, dict, set, frozenset})


def check_source(place: str, part: Source | Splice) -> None:
    """Raise InvalidDag naming `place` for a source that is not made of tuples, or whose value is nested too deeply."""
    if isinstance(part, FromParam | FromNodeOutput):
        check_serializer(part.serializer)
    value = part.value if isinstance(part, Literal) else getattr(part, "default_value", None)
    if fault := depth_fault(value):
        raise InvalidDag(place, *fault)
    held = getattr(part, "items", getattr(part, "pairs", getattr(part, "steps", ())))
    if not isinstance(held, tuple):
        kind, wrong = type(part).__name__, f"is made of {shown(held)}, which is not a tuple"
        raise InvalidDagType(f"{place}: {kind}", wrong, f"write {kind}((..., ...))")


def depth_fault(value: object) -> tuple[str, str] | None:
    """Return what is wrong with `value`, where, and what would be right; None if it is not nested too deeply."""
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
            return f"contains itself at {_at(keys)}", "break the circle, or make it in a task"
        if len(path) >= MOST_LEVELS:
            wrong = f"is nested more than {MOST_LEVELS} levels deep, at {_at(keys[:3])}..."
            return wrong, "make it flatter, or pass it as a parameter that is serialized with AsPickle()"
        path.append((part, _parts(part)))
    return None


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the containers in a container, with their keys."""
    pairs: Iterable[tuple[Any, Any]] = value.items() if type(value) is dict else enumerate(value)
    return ((key, part) for key, part in pairs if type(part) in _CONTAINERS)


def _at(keys: list[Any]) -> str:
    return "".join(f"[{shown(key, 60)}]" for key in keys)
