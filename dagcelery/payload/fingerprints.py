"""Code and values have fingerprints: in all processes equal ones mean the same function, or equal values.

A hash of a function's code changes if the function does something else, not if its file is moved.

Of the arguments of a function, and of what it captures, objects count with their data and with the code of their class.
Python's own library counts by name: it changes with Python, whose version is part of every code's hash. What is read
elsewhere, such as globals or class attributes that are not plain values, does not count; neither does it for the
function of a task.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import marshal
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from dagcelery.objects import ATOMS, PROTOCOL, CanonicalPickler, is_routine
from dagcelery.payload.lazy import LazyList
from dagcelery.signatures import cell_contents, is_named

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

_WRAPPED: Final = ("fn", "__wrapped__", "run")
"""Where a task of ours, a decorated function and a Celery task keep the function that they wrap."""

_LAYERS: Final = 20
"""Objects that have any attribute one asks for would be unwrapped for ever."""

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
    if (known_text := _libraries.get(kind)) is not None:
        return known_text
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


def layers(obj: Any) -> Iterator[Any]:
    """Yield `obj`, what it wraps, what that wraps, and so on."""
    for _ in range(_LAYERS):
        if not callable(obj):
            return
        yield obj
        obj = _wrapped_by(obj)


def _wrapped_by(obj: Any) -> Any:
    if isinstance(obj, types.FunctionType):
        return obj.__dict__.get("__wrapped__")
    if isinstance(obj, type | types.MethodType | types.BuiltinFunctionType):
        return None
    return next((inner for name in _WRAPPED if callable(inner := getattr(obj, name, None))), None)


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
