"""Two calls are compared by what they mean; the first difference is told in words, or there is none."""

from __future__ import annotations

import pickle
from types import FunctionType

from dagcelery.frontends.functional.calls import Call
from dagcelery.frontends.functional.refs import Run, Spliced, within
from dagcelery.model.sources import DictOf, Literal, Source
from dagcelery.text import shown


def between_calls(one: Call, other: Call) -> str | None:
    """Return how two calls differ, apart from the elements that they are made for."""
    if one.callee.name != other.callee.name:
        return f"calls {one.callee.name!r} instead of {other.callee.name!r}"
    if not _is_same(one.callee, other.callee):
        return f"calls {one.callee.name!r} with other options"
    if one.arguments.keys() != other.arguments.keys():
        return f"calls {one.callee.name!r} with other arguments"
    for name, source in one.arguments.items():
        found = between(source, other.arguments[name])
        if found:
            return f"gives {name!r} of {one.callee.name!r} {found}"
    return f"lets {one.callee.name!r} come after other nodes" if between(one.after, other.after) else None


def between(one: Source, other: Source) -> str | None:
    """Return how two sources differ."""
    if type(one) is not type(other):
        return f"{_told(one)} instead of {_told(other)}"
    if isinstance(one, Literal) and isinstance(other, Literal):
        return None if same_value(one.value, other.value) else f"{shown(one.value)} instead of {shown(other.value)}"
    inner, others = list(within(one)), list(within(other))
    if len(inner) != len(others) or _keys(one) != _keys(other):
        return "another number of values"
    if not inner:
        return None if one == other else "the value of another node or element"
    if isinstance(one, Run | Spliced) and isinstance(other, Run | Spliced) and one.over != other.over:
        return "the elements of another list"
    return next((found for found in map(between, inner, others) if found), None)


def same_value(one: object, other: object) -> bool:
    """Whether two literals are the same, though each run of the body may have made its own."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, FunctionType) and isinstance(other, FunctionType):
        return _is_same_function(one, other)
    return _is_same(one, other) or _pickled(one) == _pickled(other) != None  # noqa: E711


def _is_same(one: object, other: object) -> bool:
    try:
        return bool(one == other)
    except Exception:  # arrays and data frames have no one answer, and the classes of others may do anything
        return False


def _is_same_function(one: FunctionType, other: FunctionType) -> bool:
    held, others = ([cell.cell_contents for cell in f.__closure__ or ()] for f in (one, other))
    return (
        one.__code__ == other.__code__
        and len(held) == len(others)
        and same_value(one.__defaults__, other.__defaults__)
        and all(map(same_value, held, others))
    )


def _pickled(value: object) -> bytes | None:
    try:
        return pickle.dumps(value)
    except Exception:  # pickling runs the class's own code, which may raise anything
        return None


def _keys(source: Source) -> list[object]:
    return [key for key, _ in source.pairs] if isinstance(source, DictOf) else []


def _told(source: Source) -> str:
    return shown(source.value) if isinstance(source, Literal) else "a value made by a node"
