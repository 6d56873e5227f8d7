"""Arguments of a function, and what it captures, have fingerprints: in all processes equal ones mean equal values.

Objects count with their data and with the code of their class. Python's own library counts by name: it changes with
Python, whose version is part of every code's hash. What is read elsewhere, such as globals or class attributes that are
not plain values, does not count; neither does it for the function of a task.
"""

from __future__ import annotations

import copyreg
import hashlib
import marshal
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from dagcelery.objects import ATOMS, PROTOCOL, CanonicalPickler, cell_contents, is_routine
from dagcelery.payload.functions import (
    UnknownCode,
    class_text,
    code_hash,
    is_bound_builtin,
    is_class,
    is_installed,
    is_of_stdlib,
    layers,
    name_of,
)
from dagcelery.payload.lazy import LazyList

_FUNCTIONS: Final = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_CODE: Final = (*_FUNCTIONS, types.ModuleType, types.CodeType)
_ATOMS: Final = ATOMS - {type(NotImplemented)}  # which marshal cannot write
_MARSHALLED: Final = 2
"""The last format that neither depends on which objects are the same, nor on which strings are interned."""

_Update = Callable[[bytes], object]


def fingerprint(arguments: Mapping[str, Any]) -> bytes | None:
    """Return 32 bytes that differ if any argument differs, in type too; None where that cannot be known.

    Equal plain values, in lists, tuples, sets and dicts, have equal fingerprints. Other objects that are equal may have
    different ones, but two that differ never have the same. Code as an argument, or within one, has none: a
    function calls others, which may change while it does not.
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
    """Pass `update` bytes that differ for any two values: each begins with a mark of its kind, and shows its end."""
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
        update(b"p" + _CodePickler(code=code).digest(value))


def _feed_all(update: _Update, values: Iterable[Any], code: bool) -> None:
    for value in values:
        _feed(update, value, code)


def _alone(value: Any, code: bool) -> bytes:
    digest = hashlib.sha256()
    _feed(digest.update, value, code)
    return digest.digest()


def fingerprint_captures(func: Callable[..., Any]) -> bytes | None:
    """Return 32 bytes for what a function holds beside its code; None where that cannot be known.

    These are the variables that it captures, defaults, and the object that a method or a `partial` is bound to, each as
    it is now. Code among them counts with what it holds itself. Globals do not count, nor what they hold.
    """
    return _fingerprint({"": func if _may_hold(func) else func.__qualname__}, code=True)


def _may_hold(func: Callable[..., Any]) -> bool:
    if isinstance(func, types.FunctionType | types.MethodType) or is_bound_builtin(func):
        return True
    return not isinstance(func, type) and not is_routine(func)


def _stand_in(*_: object) -> None:
    """Stand in a pickle for the function that would make the object: it is never loaded."""


class _CodePickler(CanonicalPickler):
    """Pickles objects with the code of classes and functions instead of their names.

    A pickle names classes and functions, so it stays the same when these are edited.
    """

    def __init__(self, *, code: bool) -> None:
        super().__init__()
        self._code = code
        self._classes: dict[type, str] = {}
        self._seen: dict[int, int] = {}

    def reducer_override(self, value: Any) -> Any:
        """Return how `value` is written: as a call of `_stand_in` with all that it depends on."""
        if value is _stand_in:
            return NotImplemented
        if is_class(value):
            return _stand_in, ("class", self._class(value, as_value=True))
        if isinstance(value, _CODE) and not is_bound_builtin(value):
            return _stand_in, ("code", *self._function(value))
        return self._object(value)

    def _object(self, value: Any) -> tuple[Any, ...]:
        reduce = copyreg.dispatch_table.get(type(value))
        reduced = reduce(value) if reduce is not None else value.__reduce_ex__(PROTOCOL)
        if isinstance(reduced, str):
            return _stand_in, ("name", *self._named(value, reduced))
        maker, arguments, *rest = reduced
        parts = [self._maker(maker), *arguments]
        # What makes an object may take its class; any other class that it takes is a value, which may be called.
        own = [at for at, part in enumerate(parts) if is_class(part) and (at == 0 or part in type(value).__mro__)]
        for at in own:
            parts[at] = self._class(parts[at], as_value=False)
        return _stand_in, (own, *parts), *rest

    def _maker(self, maker: Any) -> Any:
        is_compiled = is_installed(maker) and hasattr(maker, "__qualname__")  # by Cython
        if is_class(maker) or not (isinstance(maker, _FUNCTIONS) or is_compiled):
            return maker
        if isinstance(maker, types.MethodType) and not is_class(maker.__self__):
            return maker
        owner: Any = getattr(maker, "__self__", None)
        of = self._class(owner, as_value=False) if is_class(owner) else ""
        return f"{name_of(maker)} {code_hash(maker)} {of}"

    def _named(self, value: Any, name: str) -> Iterator[Any]:
        """Yield parts for what is pickled by name: data of a library, or a task, which is its function."""
        yield f"{getattr(value, '__module__', None)}:{name}"
        yield self._class(type(value), as_value=False)
        inner = [layer for layer in layers(value) if layer is not value]
        if is_of_stdlib(value) or (is_of_stdlib(type(value)) and not inner):
            return
        if self._code and inner:
            yield inner[0]
        elif callable(value) or not is_installed(type(value)):
            raise UnknownCode(f"{name} is known by its name only")

    def _function(self, value: Any) -> Iterator[Any]:
        yield name_of(value)
        if is_of_stdlib(value):
            return
        if not self._code or isinstance(value, types.BuiltinFunctionType):
            raise UnknownCode(f"{name_of(value)} calls code that is not looked at")
        if id(value) in self._seen:
            yield f"function {self._seen[id(value)]}"  # which holds this one
        elif isinstance(value, types.FunctionType):
            self._seen[id(value)] = len(self._seen)
            yield code_hash(value)
            yield value.__defaults__
            yield value.__kwdefaults__
            yield [cell_contents(cell) for cell in value.__closure__ or ()]
        elif isinstance(value, types.MethodType):
            yield value.__func__
            yield value.__self__

    def _class(self, kind: type, *, as_value: bool) -> str:
        """Return a text for a class. One that is a value may be called by the function that gets it, so it is code."""
        if is_of_stdlib(kind):
            return name_of(kind)
        if as_value and not self._code:
            raise UnknownCode(f"{name_of(kind)} calls code that is not looked at")
        if kind not in self._classes:
            self._classes[kind] = class_text(kind)
        return self._classes[kind]

    def digest_apart(self, value: object) -> bytes:
        return _CodePickler(code=self._code).digest(value)
