"""A function's code has a hash that changes when it would do something else, not when its file is moved."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

_PYTHON: Final = f"{sys.version_info.major}{sys.version_info.minor}"
_DEEP: Final = 20


def code_hash(func: Callable[..., Any]) -> str:
    """Return a hash of what `func` does, such as ``"311-9f86d081884c7d65"``, the Python version first.

    Bytecode, constants, names and defaults count, of wrapped functions and methods too. Paths, line numbers,
    comments, docstrings and annotations do not, nor does the code of functions that it calls.
    """
    digest = hashlib.sha256()
    for part in _parts(func, 0):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return f"{_PYTHON}-{digest.hexdigest()[:16]}"


def same_code(planned: str, found: str) -> bool:
    """Whether two hashes speak of the same code; bytecode of different Python versions is not compared."""
    return not planned or not found or planned == found or not is_comparable(planned, found)


def is_comparable(planned: str, found: str) -> bool:
    """Whether two hashes are of bytecode of the same Python version."""
    return planned.partition("-")[0] == found.partition("-")[0]


def _parts(obj: Any, depth: int) -> Iterator[str]:
    if depth > _DEEP:
        return
    if isinstance(obj, types.MethodType):
        yield from _parts(obj.__func__, depth + 1)
    elif isinstance(obj, types.FunctionType):
        yield from _code_parts(obj.__code__)
        yield _constant(obj.__defaults__)
        yield _constant(obj.__kwdefaults__)
        yield from _parts(obj.__dict__.get("__wrapped__"), depth + 1)
    elif isinstance(obj, functools.partial):
        yield from ("partial", _constant(obj.args), _constant(obj.keywords))
        yield from _parts(obj.func, depth + 1)
    elif isinstance(obj, type):
        yield obj.__qualname__
        for name, member in sorted(vars(obj).items()):
            unwrapped = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
            if isinstance(unwrapped, types.FunctionType):
                yield name
                yield from _parts(unwrapped, depth + 1)
    elif obj is not None and not inspect.isroutine(obj) and callable(obj):
        yield from _parts(type(obj), depth + 1)
    elif obj is not None:
        yield getattr(obj, "__qualname__", type(obj).__qualname__)


def _code_parts(code: types.CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr((code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags))
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
    yield getattr(code, "co_exceptiontable", b"").hex()
    constants = code.co_consts
    if _has_docstring(code):
        constants = (None, *constants[1:])
    yield repr(len(constants))
    for constant in constants:
        if isinstance(constant, types.CodeType):
            yield from _code_parts(constant)
        else:
            yield _constant(constant)


def _has_docstring(code: types.CodeType) -> bool:
    # Until 3.13 the first constant of a function is its docstring or None; later a flag says whether there is
    # one. Class bodies, lambdas and comprehensions have none there.
    if not code.co_consts or not isinstance(code.co_consts[0], str):
        return False
    if sys.version_info >= (3, 14):
        return bool(code.co_flags & 0x4000000)
    is_function = code.co_flags & inspect.CO_OPTIMIZED and code.co_flags & inspect.CO_NEWLOCALS
    return bool(is_function) and not code.co_name.startswith("<")


def _constant(value: object) -> str:
    """Return the same text in every process: sets have no order of their own, and objects no stable repr."""
    if isinstance(value, tuple | list):
        return f"({','.join(map(_constant, value))})"
    if isinstance(value, frozenset | set):
        return f"{{{','.join(sorted(map(_constant, value)))}}}"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_constant(key)}:{_constant(item)}' for key, item in value.items())}}}"
    if value is None or isinstance(value, int | float | complex | str | bytes) or value is ...:
        return repr(value)
    return f"{type(value).__module__}.{type(value).__qualname__}"
