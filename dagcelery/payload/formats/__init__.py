"""Serializers beyond JSON and pickle, each in a module that imports the library it needs when it is first used.

They have in common that they refuse what would come back changed, and say which part, why and what to do. They call
their value "the value"; a codec puts the name of the parameter or output in its place.

Each has a `kind`, by which plans name it, and is a frozen dataclass whose fields are data: so no plan needs a pickle
for it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from dagcelery.errors import DagceleryError, DeserializationError, SerializationError
from dagcelery.payload.lazy import LazyList
from dagcelery.text import short, type_name

VALUE: Final = "the value"
_NOTHING: Final[Mapping[str, str]] = {}
_LISTS: Final = frozenset({list, tuple, LazyList})
_EXACT: Final = frozenset({str, int, bool, bytes, type(None), datetime.date, datetime.timedelta, UUID})
"""Types whose equal values are the same; 1.0 and NaN, Decimal("1.0") and times in zones need a closer look."""


def refused(path: Sequence[object], reason: str, remedy: str) -> SerializationError:
    """Return the error that names what lies at `path` in the value."""
    at = "".join(f"[{short(step)}]" for step in path)
    return SerializationError(f"{VALUE} at {at}" if at else VALUE, reason, remedy)


def refused_change(path: Sequence[object], value: object, back: object, remedy: str) -> SerializationError:
    """Return the error for `value`, which would come back as `back`."""
    reason = f"is {short(value)} of type {type_name(value)}, which would come back as {short(back)}"
    return refused(path, f"{reason} of type {type_name(back)}", remedy)


def listed(value: object) -> Sequence[Any] | None:
    """Return `value` if it travels as a list, which tuples and lazy lists do as well, else None."""
    return value if type(value) in _LISTS else None  # type: ignore[return-value]


def is_same(value: Any, back: Any) -> bool:
    """Whether `back` equals `value` and has its types all through; a tuple may have become a list."""
    kind = type(value)
    if listed(value) is not None:
        return type(back) is list and len(value) == len(back) and all(map(is_same, value, back))
    if kind is not type(back):
        return False
    if kind in _EXACT:
        return bool(value == back)
    if kind is dict:
        return value.keys() == back.keys() and all(is_same(item, back[key]) for key, item in value.items())
    if kind is float:
        return bool(value == back or (value != value and back != back))
    if kind is Decimal:
        return str(value) == str(back)
    if kind in (datetime.datetime, datetime.time):
        return bool(value == back and value.fold == back.fold and str(value.tzinfo) == str(back.tzinfo))
    return False


@contextmanager
def writing(form: str, remedy: str, needs: Mapping[str, str] = _NOTHING) -> Iterator[None]:
    """Raise SerializationError for whatever is raised while a value is written; our own errors pass.

    `needs` maps the libraries that `form` needs to what brings them.
    """
    try:
        yield
    except DagceleryError:
        raise
    except Exception as error:
        raise SerializationError(VALUE, *_fault("written", form, error, remedy, needs)) from error


@contextmanager
def reading(form: str, needs: Mapping[str, str] = _NOTHING) -> Iterator[None]:
    """Raise DeserializationError for whatever is raised while bytes are read; our own errors pass."""
    try:
        yield
    except DagceleryError:
        raise
    except Exception as error:
        raise DeserializationError(VALUE, *_fault("read", form, error, "read it as it was written", needs)) from error


def _fault(verb: str, form: str, error: Exception, remedy: str, needs: Mapping[str, str]) -> tuple[str, str]:
    library = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if library not in needs:
        return f"cannot be {verb} as {form}: {type(error).__name__}: {error}", remedy
    missing = f"cannot be {verb} as {form} without {library}, which is not installed here"
    return missing, f"pip install '{needs[library]}' for the client and its workers"
