"""Values are shown as they are written: what was left out when they were made is left out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from types import FunctionType
from typing import Any, Final

_PLAIN: Final = (str, bytes, int, float, bool, tuple, frozenset, type(None))


def told(value: object) -> str:
    """Return the call that makes a value, without arguments that are as they would be anyway."""
    return f"{type(value).__name__}({', '.join(given(value))})"


def given(value: object) -> list[str]:
    """Return the arguments of `told`, as words."""
    kind: Any = type(value)
    known = {name: (default, getattr(value, name, default)) for name, default in _defaults(kind).items()}
    said = {name: held for name, (default, held) in known.items() if not _is_as_is(held, default)}
    return [f"{name}={shown(held)}" for name, held in said.items() if name != "options" or given(held)]


def shown(value: object) -> str:
    """Return a value's `repr`, of functions their names, in a few words: nobody needs to know where they are stored."""
    if isinstance(value, FunctionType):
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name!r}: {shown(inner)}' for name, inner in value.items())}}}"
    return repr(value)


@functools.cache
def _defaults(kind: type) -> dict[str, Any]:
    return {each.name: each.default for each in inspect.signature(kind).parameters.values()}


def _is_as_is(value: object, default: object) -> bool:
    # Others are compared by what they are: an author's own __eq__ may say anything, or raise.
    if value is default or (isinstance(value, Mapping | frozenset) and not value):
        return True
    return type(value) is type(default) and isinstance(value, _PLAIN) and value == default
