"""A function's code has a hash that changes when it would do something else, not when its file is moved."""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

_PYTHON: Final = f"{sys.version_info.major}{sys.version_info.minor}.2"
"""What hashes are compared within: bytecode differs from version to version. The last number counts ours."""
_HAS_DOCSTRING: Final = 0x4000000
"""A flag from Python 3.14 on."""
_DEEP: Final = 20
_WRITTEN_BITS: Final = 10_000
"""Beyond this Python refuses to write an int in decimal."""


def code_hash(func: Callable[..., Any]) -> str:
    """Return a hash of what `func` does, such as ``"311.2-9f86d081884c7d65"``, the Python version first.

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
    """Whether two hashes are of bytecode of the same Python version, and made alike."""
    return planned.partition("-")[0] == found.partition("-")[0]


def why_not_comparable(planned: str, python: str) -> str:
    """Return why a hash that was made with `python` cannot be compared with those of this process."""
    if planned.partition("-")[0].partition(".")[0] == _PYTHON.partition(".")[0]:
        return "it was planned by another version of dagcelery, which looks at code in another way"
    return f"it was planned with Python {python}, whose bytecode cannot be compared with this Python's"


def _parts(obj: Any, depth: int) -> Iterator[str]:
    if depth > _DEEP:
        return
    if isinstance(obj, types.MethodType):
        yield from _parts(obj.__func__, depth + 1)
    elif isinstance(obj, types.FunctionType):
        yield from _parts_of_code(obj.__code__)
        yield stable_text(obj.__defaults__)
        yield stable_text(obj.__kwdefaults__)
        yield from _parts(obj.__dict__.get("__wrapped__"), depth + 1)
    elif isinstance(obj, functools.partial):
        yield from ("partial", stable_text(obj.args), stable_text(obj.keywords))
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


@functools.lru_cache(maxsize=4096)
def _parts_of_code(code: types.CodeType) -> tuple[str, ...]:
    return tuple(_code_parts(code))


def _code_parts(code: types.CodeType) -> Iterator[str]:
    yield repr((code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~_HAS_DOCSTRING))
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
    yield getattr(code, "co_exceptiontable", b"").hex()
    instructions, constants = _instructions(code)
    yield instructions
    for constant in constants:
        if isinstance(constant, types.CodeType):
            yield from _code_parts(constant)
        else:
            yield stable_text(constant)


def _instructions(code: types.CodeType) -> tuple[str, list[Any]]:
    """Return what a code does, and the constants that it uses, in the order of their use.

    Their places do not count: a docstring is a constant as well, and moves others.
    """
    told, constants, argument = [], [], 0
    for operation, low in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        argument = argument << 8 | low
        if operation == dis.EXTENDED_ARG:
            continue
        if operation in _USE_CONSTANTS:
            constants.append(code.co_consts[argument])
            argument = 0
        told.append(operation << 32 | argument)
        argument = 0
    return repr(told), constants


_USE_CONSTANTS: Final = frozenset(dis.hasconst)


def stable_text(value: object) -> str:
    """Return the same text in every process: sets have no order of their own, and objects no stable repr."""
    if isinstance(value, tuple | list):
        return f"({','.join(map(stable_text, value))})"
    if isinstance(value, frozenset | set):
        return f"{{{','.join(sorted(map(stable_text, value)))}}}"
    if isinstance(value, dict):
        return f"{{{','.join(f'{stable_text(key)}:{stable_text(item)}' for key, item in value.items())}}}"
    if type(value) is int and value.bit_length() > _WRITTEN_BITS:
        return hex(value)
    if value is None or isinstance(value, int | float | complex | str | bytes) or value is ...:
        return repr(value)
    return f"{type(value).__module__}.{type(value).__qualname__}"
