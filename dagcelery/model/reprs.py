"""The repr of a frozen value is the constructor call that makes it, without arguments that equal their defaults."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from types import FunctionType
from typing import Any, Final

_PLAIN: Final = (str, bytes, int, float, bool, tuple, frozenset, type(None))


def constructor_repr(value: object) -> str:
    """Return the call that makes a value, without arguments that equal their defaults."""
    return f"{type(value).__name__}({', '.join(constructor_arguments(value))})"


def constructor_arguments(value: object) -> list[str]:
    """Return the arguments that `constructor_repr` writes."""
    kind: Any = type(value)
    attributes = {name: (default, getattr(value, name, default)) for name, default in _defaults(kind).items()}
    changed = {name: held for name, (default, held) in attributes.items() if not _is_default(held, default)}
    return [
        f"{name}={_repr(held)}" for name, held in changed.items() if name != "options" or constructor_arguments(held)
    ]


def _repr(value: object) -> str:
    """Return the repr of an argument; a function is named, since its address in memory is of no use."""
    if isinstance(value, FunctionType):
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name!r}: {_repr(inner)}' for name, inner in value.items())}}}"
    return repr(value)


@functools.cache
def _defaults(kind: type) -> dict[str, Any]:
    return {each.name: each.default for each in inspect.signature(kind).parameters.values()}


def _is_default(value: object, default: object) -> bool:
    # Objects of users' classes are compared by identity: their __eq__ may return anything, or raise.
    if value is default or (isinstance(value, Mapping | frozenset) and not value):
        return True
    return type(value) is type(default) and isinstance(value, _PLAIN) and value == default
