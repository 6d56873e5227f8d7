"""Hashes of the code of functions and classes: they change if it does something else, not if its file is moved."""

from __future__ import annotations

import dis
import functools
import hashlib
import os
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, Final
from weakref import WeakKeyDictionary

from dagcelery.objects import cell_contents, is_named, is_routine

_PYTHON: Final = f"{sys.version_info.major}{sys.version_info.minor}.2"
"""What hashes are compared within: bytecode differs from version to version. The last number counts ours."""
_HAS_DOCSTRING: Final = 0x4000000
"""A flag from Python 3.14 on."""
_DEEP: Final = 20
_WRITTEN_BITS: Final = 10_000
"""Beyond this Python refuses to write an int in decimal."""
_STDLIB: Final = os.path.join(os.path.dirname(os.path.realpath(os.__file__)), "")
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_NO_CODE: Final = frozenset(
    {"__annotations__", "__doc__", "__firstlineno__", "__static_attributes__", "__annotate_func__"}
)
_WITHIN: Final = ("__func__", "fget", "fset", "fdel", "func", "__wrapped__")
"""Where methods of classes, properties and the like keep the functions that they are made of."""

_libraries: WeakKeyDictionary[type, str] = WeakKeyDictionary()
"""Classes of installed libraries: large, and the same for as long as this process lives."""


class UnknownCode(Exception):
    """An object is code, or holds code, that cannot be looked at."""


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
    elif obj is not None and not is_routine(obj) and callable(obj):
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
    operations, constants, argument = [], [], 0
    for operation, low in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        argument = argument << 8 | low
        if operation == dis.EXTENDED_ARG:
            continue
        if operation in _USE_CONSTANTS:
            constants.append(code.co_consts[argument])
            argument = 0
        operations.append(operation << 32 | argument)
        argument = 0
    return repr(operations), constants


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


def class_text(kind: type) -> str:
    """Return a text for a class that changes when a method, or a plain attribute, of it or of a base does.

    Classes of Python's own library are their names: they change with Python, whose version is part of every hash.
    Attributes that are neither code nor plain values do not count. Raises UnknownCode for a class that cannot be
    imported.
    """
    if not is_named(kind):
        raise UnknownCode(f"{name_of(kind)} cannot be found by its name")
    return " ".join(map(_own_text, kind.__mro__))


def _own_text(kind: type) -> str:
    """Return a text for what a class itself has, without its bases."""
    if is_of_stdlib(kind):
        return name_of(kind)
    known = _libraries.get(kind)
    if known is not None:
        return known
    digest = hashlib.sha256()
    for part in _members(kind):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    text = f"{name_of(kind)} {digest.hexdigest()}"
    if is_installed(kind):
        _libraries[kind] = text
    return text


def _members(kind: type) -> Iterator[str]:
    for name, member in sorted(vars(kind).items()):
        if name not in _NO_CODE:
            yield name
            yield from _member(member, set())


def _member(member: Any, seen: set[int]) -> Iterator[str]:
    """Yield texts for a method and what its decorators wrap, or for a plain value; for others their type only."""
    if id(member) in seen:
        return
    seen.add(id(member))
    if isinstance(member, types.FunctionType):
        yield code_hash(member)
        for cell in member.__closure__ or ():
            for value in cell_contents(cell):
                yield from _member(value, seen)
        return
    yield stable_text(member)
    if not is_class(member):
        for name in _WITHIN:
            inner = getattr(member, name, None)
            if callable(inner):
                yield from _member(inner, seen)


def is_class(value: Any) -> bool:
    """Whether a value is a class; ``list[int]`` passes for one with `isinstance`."""
    return isinstance(value, type) and not isinstance(value, types.GenericAlias)


def is_bound_builtin(value: Any) -> bool:
    """Whether a value is a built-in method of an object."""
    owner = getattr(value, "__self__", None)
    return isinstance(value, types.BuiltinFunctionType) and not (owner is None or isinstance(owner, types.ModuleType))


def name_of(value: Any) -> str:
    """Return the module and the qualified name of a function, a class or a module."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", type(value).__qualname__)
    return f"{getattr(value, '__module__', None)}:{name}"


def is_of_stdlib(value: Any) -> bool:
    """Whether a module, or what it has under its name, belongs to Python."""
    if isinstance(value, types.ModuleType):
        return _is_of_python(value.__name__)
    module = getattr(value, "__module__", None)
    return module == "builtins" or (
        _is_of_python(module) and is_named(value)
    )  # builtins has no name for all of its own


@functools.lru_cache(maxsize=4096)
def _is_of_python(module: str | None) -> bool:
    if module is None or module == "__main__" or module.partition(".")[0] not in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)  # none if it is built in
    return file is None or (os.path.realpath(file).startswith(_STDLIB) and not any(part in file for part in _INSTALLED))


def is_installed(value: Any) -> bool:
    """Whether a function or class belongs to an installed package."""
    file = getattr(sys.modules.get(getattr(value, "__module__", None) or ""), "__file__", None) or ""
    return any(part in file for part in _INSTALLED)
