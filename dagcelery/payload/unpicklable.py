"""Which part of a function that travels by value cannot be pickled."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from dagcelery.objects import cell_contents

_DEEP: Final = 12


def path_to(func: object, fails: Callable[[object], bool]) -> str:
    """Return the path from `func` to the part that `fails`, such as ``global 'helper', global 'LOCK'``; "" if none.

    Each step is tried alone, so that this is for errors only.
    """
    path, at, seen = [], func, {id(func)}
    for _ in range(_DEEP):
        found = next(((step, held) for step, held in _held(at) if id(held) not in seen and fails(held)), None)
        if found is None:
            break
        path.append(found[0])
        at = found[1]
        seen.add(id(at))
    return f"{', '.join(path)} of type {type(at).__module__}.{type(at).__qualname__}" if path else ""


def _held(value: Any) -> Iterator[tuple[str, object]]:
    if isinstance(value, types.FunctionType):
        yield from _captured(value)
    elif isinstance(value, functools.partial):
        yield "function", value.func
        yield from ((f"argument {index}", each) for index, each in enumerate(value.args))
        yield from ((f"argument {name!r}", each) for name, each in value.keywords.items())
    elif isinstance(value, types.MethodType):
        yield "object", value.__self__
        yield "function", value.__func__
    elif isinstance(value, Mapping):
        yield from ((f"key {key!r}", each) for key, each in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"element {index}", each) for index, each in enumerate(value))
    elif isinstance(value, type):
        yield from ((f"attribute {name!r}", each) for name, each in vars(value).items())
    else:
        # A task is told by its function: the rest of it is ours.
        own = {"__wrapped__": value.__wrapped__} if hasattr(value, "__wrapped__") else getattr(value, "__dict__", {})
        yield from ((f"attribute {name!r}", each) for name, each in own.items())


def _captured(func: types.FunctionType) -> Iterator[tuple[str, object]]:
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
        yield from ((f"variable {name!r}", value) for value in cell_contents(cell))
    for name in dict.fromkeys(_names(func.__code__)):
        if name in func.__globals__:
            yield f"global {name!r}", func.__globals__[name]
    arguments = func.__code__.co_varnames[: func.__code__.co_argcount]
    defaults = func.__defaults__ or ()
    by_name = {**dict(zip(arguments[::-1], defaults[::-1], strict=False)), **(func.__kwdefaults__ or {})}
    yield from ((f"default of {name!r}", value) for name, value in by_name.items())
    yield from ((f"attribute {name!r}", value) for name, value in func.__dict__.items())


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
