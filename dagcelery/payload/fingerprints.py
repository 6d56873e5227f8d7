"""What a function is called with, and what it holds, has a fingerprint: equal ones mean equal values, everywhere."""

from __future__ import annotations

import functools
import hashlib
import inspect
import marshal
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from dagcelery.payload.code import code_hash
from dagcelery.payload.lazy import LazyList
from dagcelery.payload.objects import told

_ATOMS: Final = frozenset({int, float, complex, str, bytes, bool, type(None)})
_MARSHALLED: Final = 2
"""The last format that neither depends on which objects are the same, nor on which strings are interned."""

_Update = Callable[[bytes], object]


def fingerprint(arguments: Mapping[str, Any]) -> bytes | None:
    """Return 32 bytes that differ if any argument differs, in type too; None where one cannot be told.

    Plain values, in lists, tuples, sets and dicts, are told by what they are. Other objects are told by their data and
    by the code of their class (`objects.told`): two that are equal may have different fingerprints, but two that
    differ never have the same. Code that is itself an argument, or lies within one, cannot be told: a function calls
    others, which may change while it does not.
    """
    return _fingerprint(arguments, code=False)


def _fingerprint(arguments: Mapping[str, Any], *, code: bool) -> bytes | None:
    digest = hashlib.sha256()
    try:
        for name in sorted(arguments):
            _feed(digest.update, name, code)
            _feed(digest.update, arguments[name], code)
    except Exception:
        return None
    return digest.digest()


def _feed(update: _Update, value: Any, code: bool) -> None:
    """Tell `update` a value so that no two tell the same: each begins with a mark of its kind, and says its end."""
    kind = type(value)
    if kind in _ATOMS:
        update(b"a" + marshal.dumps(value, _MARSHALLED))
    elif kind is list or kind is tuple:
        update(b"l%d:" % len(value) if kind is list else b"t%d:" % len(value))
        if set(map(type, value)) <= _ATOMS:
            update(marshal.dumps(value, _MARSHALLED))
        else:
            _feed_all(update, value, code)
    elif kind is LazyList:
        update(b"z%d:" % len(value))
        _feed_all(update, value, code)
    elif kind is dict:
        update(b"d%d:" % len(value))
        for pair in value.items():
            _feed_all(update, pair, code)
    elif kind is set or kind is frozenset:
        update(b"s%d:" % len(value) if kind is set else b"f%d:" % len(value))
        for member in sorted([_alone(member, code) for member in value]):
            update(member)
    else:
        data = told(value, code=code)
        update(b"p%d:" % len(data) + data)


def _feed_all(update: _Update, values: Iterable[Any], code: bool) -> None:
    for value in values:
        _feed(update, value, code)


def _alone(value: Any, code: bool) -> bytes:
    digest = hashlib.sha256()
    _feed(digest.update, value, code)
    return digest.digest()


def held(func: Callable[..., Any]) -> bytes | None:
    """Return 32 bytes for what a function holds beside its code; None where that cannot be told.

    These are the variables that it captures, defaults, and what a method or a `partial` is bound to, each as it is now.
    Code among them is told by what it does, and by what it holds. Globals do not count, nor what they hold.
    """
    return _fingerprint({"": _held(func, set())}, code=True)


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
