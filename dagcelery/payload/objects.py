"""Objects are told by their data and by the code of their class, since a name says nothing of what stands behind it.

A pickle names classes and functions, so it stays the same when these are edited. Here each of them is replaced by a
text that changes with its code. Python's own library is told by name: it changes with Python, whose version is part
of every code's hash. What is read elsewhere, as class attributes that are no plain values or as globals, does not
count; neither does it for the function of a task.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import io
import os
import pickle
import sys
import types
from collections.abc import Iterator
from typing import Any, Final
from weakref import WeakKeyDictionary

from dagcelery.payload.code import code_hash, stable_text
from dagcelery.payload.functions import layers

_PROTOCOL: Final = 5
_STDLIB: Final = os.path.join(os.path.dirname(os.path.realpath(os.__file__)), "")
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_FUNCTIONS: Final = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_CODE: Final = (*_FUNCTIONS, types.ModuleType, types.CodeType)
_NO_CODE: Final = frozenset(
    {"__annotations__", "__doc__", "__firstlineno__", "__static_attributes__", "__annotate_func__"}
)
_WITHIN: Final = ("__func__", "fget", "fset", "fdel", "func", "__wrapped__")
"""Where methods of classes, properties and the like keep the functions that they are made of."""

_libraries: WeakKeyDictionary[type, str] = WeakKeyDictionary()
"""Classes of installed libraries: large, and the same for as long as this process lives."""


class UntoldCode(Exception):
    """Something is code, or holds code, of which only the name is known."""


def told(value: Any, *, code: bool) -> bytes:
    """Return bytes that differ if `value` does; `code` says whether code within it is told by what it does, or not.

    Raises UntoldCode for code that cannot be told, and whatever pickling an object raises.
    """
    written = io.BytesIO()
    _Teller(written, code).dump(value)
    return written.getvalue()


def _told(*_: object) -> None:
    """Stand in a pickle for what would make the object: nobody reads it."""


class _Teller(pickle.Pickler):
    """Writes objects as pickle does, with the code of classes and functions in the place of their names."""

    def __init__(self, file: io.BytesIO, code: bool) -> None:
        super().__init__(file, _PROTOCOL)
        self._code = code
        self._classes: dict[type, str] = {}
        self._open: set[int] = set()

    def reducer_override(self, value: Any) -> Any:
        """Say how `value` is written: as a call of `_told` with all that it depends on."""
        if value is _told:
            return NotImplemented
        if _is_class(value):
            return _told, ("class", self._class(value, as_value=True))
        if isinstance(value, _CODE) and not _is_bound_builtin(value):
            return _told, ("code", *self._function(value))
        return self._object(value)

    def _object(self, value: Any) -> tuple[Any, ...]:
        reduce = copyreg.dispatch_table.get(type(value))
        reduced = reduce(value) if reduce is not None else value.__reduce_ex__(_PROTOCOL)
        if isinstance(reduced, str):
            return _told, ("name", *self._named(value, reduced))
        maker, arguments, *rest = reduced
        parts = [self._maker(maker), *arguments]
        # What makes an object may take its class; any other class that it takes is a value, which somebody may call.
        own = [at for at, part in enumerate(parts) if _is_class(part) and (at == 0 or part in type(value).__mro__)]
        for at in own:
            parts[at] = self._class(parts[at], as_value=False)
        return _told, (own, *parts), *rest

    def _maker(self, maker: Any) -> Any:
        is_compiled = _is_installed(maker) and hasattr(maker, "__qualname__")  # by Cython, whose functions are its own
        if _is_class(maker) or not (isinstance(maker, _FUNCTIONS) or is_compiled):
            return maker
        if isinstance(maker, types.MethodType) and not _is_class(maker.__self__):
            return maker
        owner: Any = getattr(maker, "__self__", None)
        of = self._class(owner, as_value=False) if _is_class(owner) else ""
        return f"{_name(maker)} {code_hash(maker)} {of}"

    def _named(self, value: Any, name: str) -> Iterator[Any]:
        """Tell what another process finds by its name: data of a library, or a task, which is told as its function."""
        yield f"{getattr(value, '__module__', None)}:{name}"
        yield self._class(type(value), as_value=False)
        inner = [layer for layer in layers(value) if layer is not value]
        if _is_stdlib(value) or (_is_stdlib(type(value)) and not inner):
            return
        if self._code and inner:
            yield inner[0]
        elif callable(value) or not _is_installed(type(value)):
            raise UntoldCode(f"{name} is told by its name only")

    def _function(self, value: Any) -> Iterator[Any]:
        yield _name(value)
        if _is_stdlib(value):
            return
        if not self._code or isinstance(value, types.BuiltinFunctionType):
            raise UntoldCode(f"{_name(value)} calls what nobody looks at")
        if id(value) in self._open:
            yield "itself"
        elif isinstance(value, types.FunctionType):
            self._open.add(id(value))
            yield code_hash(value)
            yield value.__defaults__
            yield value.__kwdefaults__
            yield [list(_content(cell)) for cell in value.__closure__ or ()]
        elif isinstance(value, types.MethodType):
            yield value.__func__
            yield value.__self__

    def _class(self, kind: type, *, as_value: bool) -> str:
        """Return a text for a class. As a value it is called, or asked, by whoever has it: that is code."""
        if _is_stdlib(kind):
            return _name(kind)
        if as_value and not self._code:
            raise UntoldCode(f"{_name(kind)} calls what nobody looks at")
        if kind not in self._classes:
            self._classes[kind] = _class_text(kind)
        return self._classes[kind]


def _content(cell: types.CellType) -> Iterator[Any]:
    try:
        value = cell.cell_contents
    except ValueError:
        return
    yield value


def _class_text(kind: type) -> str:
    if not _is_found(kind):
        raise UntoldCode(f"{_name(kind)} cannot be found by its name")
    return " ".join(map(_own_text, kind.__mro__))


def _own_text(kind: type) -> str:
    """Return a text for what a class itself has, without its bases."""
    if _is_stdlib(kind):
        return _name(kind)
    known = _libraries.get(kind)
    if known is not None:
        return known
    digest = hashlib.sha256()
    for part in _members(kind):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    text = f"{_name(kind)} {digest.hexdigest()}"
    if _is_installed(kind):
        _libraries[kind] = text
    return text


def _members(kind: type) -> Iterator[str]:
    for name, member in sorted(vars(kind).items()):
        if name not in _NO_CODE:
            yield name
            yield from _member(member, set())


def _member(member: Any, seen: set[int]) -> Iterator[str]:
    """Tell a method with what its decorators wrap, or a plain value; of other things only their type."""
    if id(member) in seen:
        return
    seen.add(id(member))
    if isinstance(member, types.FunctionType):
        yield code_hash(member)
        for cell in member.__closure__ or ():
            for value in _content(cell):
                yield from _member(value, seen)
        return
    yield stable_text(member)
    if not _is_class(member):
        for name in _WITHIN:
            inner = getattr(member, name, None)
            if callable(inner):
                yield from _member(inner, seen)


def _is_class(value: Any) -> bool:
    return isinstance(value, type) and not isinstance(value, types.GenericAlias)


def _is_bound_builtin(value: Any) -> bool:
    owner = getattr(value, "__self__", None)
    return isinstance(value, types.BuiltinFunctionType) and not (owner is None or isinstance(owner, types.ModuleType))


def _name(value: Any) -> str:
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", type(value).__qualname__)
    return f"{getattr(value, '__module__', None)}:{name}"


def _is_found(value: Any) -> bool:
    found: Any = sys.modules.get(getattr(value, "__module__", None) or "")
    for name in getattr(value, "__qualname__", "").split("."):
        found = getattr(found, name, None)
    return found is value


def _is_stdlib(value: Any) -> bool:
    if isinstance(value, types.ModuleType):
        return _is_of_python(value.__name__)
    module = getattr(value, "__module__", None)
    return module == "builtins" or (
        _is_of_python(module) and _is_found(value)
    )  # builtins has no name for all of its own


@functools.lru_cache(maxsize=4096)
def _is_of_python(module: str | None) -> bool:
    if module is None or module == "__main__" or module.partition(".")[0] not in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)  # none if it is built in
    return file is None or (os.path.realpath(file).startswith(_STDLIB) and not any(part in file for part in _INSTALLED))


def _is_installed(value: Any) -> bool:
    file = getattr(sys.modules.get(getattr(value, "__module__", None) or ""), "__file__", None) or ""
    return any(part in file for part in _INSTALLED)
