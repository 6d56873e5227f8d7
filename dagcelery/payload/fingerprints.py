"""What a function is called with, and what it holds, has a fingerprint: equal ones mean equal values, everywhere."""

from __future__ import annotations

import functools
import hashlib
import inspect
import marshal
import pickle
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from dagcelery.payload.code import code_hash
from dagcelery.payload.lazy import LazyList

_ATOMS: Final = frozenset({int, float, complex, str, bytes, bool, type(None)})
_MARSHALLED: Final = 2
"""The last format that neither depends on which objects are the same, nor on which strings are interned."""
_PICKLED: Final = 5

_Update = Callable[[bytes], object]


def fingerprint(arguments: Mapping[str, Any]) -> bytes | None:
    """Return 32 bytes that differ if any argument differs, in type too; None where one cannot be told.

    Plain values, in lists, tuples, sets and dicts, are told by what they are. Other objects are told by their pickle:
    two that are equal may have different fingerprints, but two that differ never have the same.
    """
    digest = hashlib.sha256()
    try:
        for name in sorted(arguments):
            _feed(digest.update, name)
            _feed(digest.update, arguments[name])
    except Exception:
        return None
    return digest.digest()


def _feed(update: _Update, value: Any) -> None:
    """Tell `update` a value so that no two tell the same: each begins with a mark of its kind, and says its end."""
    kind = type(value)
    if kind in _ATOMS:
        update(b"a" + marshal.dumps(value, _MARSHALLED))
    elif kind is list or kind is tuple:
        update(b"l%d:" % len(value) if kind is list else b"t%d:" % len(value))
        if set(map(type, value)) <= _ATOMS:
            update(marshal.dumps(value, _MARSHALLED))
        else:
            _feed_all(update, value)
    elif kind is LazyList:
        update(b"z%d:" % len(value))
        _feed_all(update, value)
    elif kind is dict:
        update(b"d%d:" % len(value))
        for pair in value.items():
            _feed_all(update, pair)
    elif kind is set or kind is frozenset:
        update(b"s%d:" % len(value) if kind is set else b"f%d:" % len(value))
        for member in sorted(map(_alone, value)):
            update(member)
    else:
        data = pickle.dumps(value, _PICKLED)
        update(b"p%d:" % len(data) + data)


def _feed_all(update: _Update, values: Iterable[Any]) -> None:
    for value in values:
        _feed(update, value)


def _alone(value: Any) -> bytes:
    digest = hashlib.sha256()
    _feed(digest.update, value)
    return digest.digest()


def held(func: Callable[..., Any]) -> bytes | None:
    """Return 32 bytes for what a function holds beside its code; None where that cannot be told.

    These are the variables that it captures, defaults, and what a method or a `partial` is bound to, each as it is now.
    Globals do not count, nor what they hold.
    """
    return fingerprint({"": _held(func, set())})


def _held(func: Any, seen: set[int]) -> Any:
    if id(func) in seen:
        return "itself"
    seen.add(id(func))
    if isinstance(func, types.MethodType):
        return ["method", _held(func.__func__, seen), func.__self__]
    if isinstance(func, functools.partial):
        return ["partial", _held(func.func, seen), func.args, func.keywords]
    if isinstance(func, types.FunctionType):
        captured = [_content(cell, seen) for cell in func.__closure__ or ()]
        return ["function", code_hash(func), func.__defaults__, func.__kwdefaults__, captured]
    return func if not inspect.isroutine(func) and not isinstance(func, type) else func.__qualname__


def _content(cell: types.CellType, seen: set[int]) -> Any:
    try:
        value = cell.cell_contents
    except ValueError:
        return "empty"
    if isinstance(value, types.FunctionType | types.MethodType | functools.partial):
        return _held(value, seen)
    return value.__name__ if isinstance(value, types.ModuleType) else [value]
