"""cloudpickle, and back: by reference what others can import, by value what they cannot, the same classes either way.

A class that travels by value, because a script or a notebook defines it, comes back to its process as itself: as
cloudpickle keeps count of such classes, `isinstance` and ``is`` of enum members hold there. On its way back it carries
the attributes that it had elsewhere; these are not taken over by the process that defines it.

What runs as ``python -m package.module`` has a name that workers can import; a script has none, nor has a notebook.

Functions and classes say that they are of ``__main__`` then, which is another module in every process. In data they are
named after the module that runs, and what is named so is, in the process that runs it, the module ``__main__`` itself:
importing it a second time would make other classes of the same name.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import io
import pickle
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final
from weakref import WeakSet

from dagcelery.signatures import cell_contents

SCRIPTS: Final = frozenset({"__main__", "__mp_main__"})

_known: list[tuple[ModuleSpec, str | None]] = []
"""The last spec that was looked for, since looking costs 50 us."""


def module_that_runs(script: str = "__main__") -> str | None:
    """Return the name by which others import what runs as ``python -m package.module``; None for a script."""
    spec = getattr(sys.modules.get(script), "__spec__", None)
    # A zip file or a folder that is run has a spec, which names it __main__.
    if spec is None or not spec.name or spec.name in SCRIPTS:
        return None
    if not _known or _known[0][0] is not spec:
        _known[:] = [(spec, spec.name if _is_importable(spec) else None)]
    return _known[0][1]


def import_module(name: str) -> ModuleType:
    """Import a module by the name that it has in data."""
    if name == module_that_runs():
        return sys.modules["__main__"]
    return importlib.import_module(name)


def found(module: str, qualname: str) -> Any:
    """Return what data names; the whole module for an empty `qualname`."""
    return _at(import_module(module), qualname)


def reference(value: Any) -> tuple[str, str] | None:
    """Return the names by which `value` is found in other processes if it is defined in the module that runs here."""
    if isinstance(value, ModuleType):
        module = value.__name__ if value.__name__ in SCRIPTS and sys.modules.get(value.__name__) is value else None
        name = module_that_runs(module) if module is not None else None
        return (name, "") if name is not None else None
    try:
        script = getattr(value, "__module__", None)
        if script not in SCRIPTS:
            return None
        qualname = getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or _variable(value)
        if not isinstance(qualname, str) or _at(sys.modules[script], qualname) is not value:
            return None
    except Exception:  # proxies and lazy objects ask for what is not there yet
        return None
    name = module_that_runs(script)
    return (name, qualname) if name is not None else None


def _variable(value: Any) -> str | None:
    """Return the name of the variable that a class of its own says to be pickled as, as for a value there is once."""
    kind: Any = type(value)
    if kind.__reduce__ is object.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__:
        return None
    reduced = value.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    return reduced if isinstance(reduced, str) else None


def _at(module: ModuleType, qualname: str) -> Any:
    value: Any = module
    for name in qualname.split(".") if qualname else ():
        value = getattr(value, name)
    return value


def _is_importable(spec: ModuleSpec) -> bool:
    try:
        there = importlib.util.find_spec(spec.name)
    except (ImportError, ValueError):
        return False
    return there is not None and there.origin == spec.origin


_CLOUDPICKLE: Final = "cloudpickle.cloudpickle"

_COPIED_BYTES: Final = 64 * 1024

_foreign: WeakSet[type] = WeakSet()
"""Classes that came here by value; all others that travel so are defined here."""

_registry = threading.RLock()


def dumps(value: Any, by_value: Sequence[str] = ()) -> bytes:
    """Return `value` pickled; of the modules in `by_value`, which are imported here, by value."""
    import cloudpickle  # takes 30 ms, which JSON does not need

    main = module_that_runs()
    kind = cloudpickle.Pickler if main is None or main in by_value else _pickler()
    file = io.BytesIO()
    # A script that multiprocessing started again has another name, which no worker can import either.
    wanted = [sys.modules[name] for name in {*by_value, "__mp_main__"} if name in sys.modules]
    if not wanted:
        kind(file).dump(value)
        return file.getvalue()
    with _registry:  # it is cloudpickle's, one for the process
        kept = cloudpickle.list_registry_pickle_by_value()
        added = [module for module in wanted if module.__name__ not in kept]
        for module in added:
            cloudpickle.register_pickle_by_value(module)
        try:
            kind(file).dump(value)
        finally:
            for module in added:
                cloudpickle.unregister_pickle_by_value(module)
    return file.getvalue()


def loads(data: bytes | memoryview) -> Any:
    """Return the value that was pickled; its bytes must have been verified."""
    return Unpickler(io.BytesIO(data) if len(data) <= _COPIED_BYTES else _Reader(data)).load()


class Unpickler(pickle.Unpickler):
    """Finds what is named in the module that runs here, if that is the module."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names."""
        if module == _CLOUDPICKLE and name in _HERE:
            return _HERE[name]
        if module == module_that_runs():
            return found(module, name)
        return super().find_class(module, name)


class _Reader:
    """A file over bytes that are not copied: `BytesIO` would copy a view, which may be of hundreds of megabytes."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    def read(self, size: int) -> bytes:
        self._at += size
        return bytes(self._data[self._at - size : self._at])

    def readinto(self, target: Any) -> int:
        part = self._data[self._at : self._at + len(target)]
        target[: len(part)] = part
        self._at += len(part)
        return len(part)

    def readline(self) -> bytes:
        line = bytearray()
        while self._at < len(self._data) and not line.endswith(b"\n"):
            line += self.read(1)
        return bytes(line)


@functools.cache
def _pickler() -> type[pickle.Pickler]:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Names what is defined in the module that runs here as others import it."""

        def reducer_override(self, value: Any) -> Any:
            named = reference(value)
            if named is not None:
                return found, named
            return super().reducer_override(value)

    return Pickler


def _skeleton(name: str) -> Callable[..., type]:
    def made(*arguments: Any) -> type:
        import cloudpickle.cloudpickle as library

        is_known = arguments[-2] in library._DYNAMIC_CLASS_TRACKER_BY_ID
        kind: type = getattr(library, name)(*arguments)
        if not is_known:
            _foreign.add(kind)
        return kind

    return made


def _class_setstate(kind: type, state: Any) -> type:
    import cloudpickle.cloudpickle as library

    return library._class_setstate(kind, state) if kind in _foreign else kind


_HERE: Final[dict[str, Callable[..., Any]]] = {
    "subimport": import_module,
    "_make_skeleton_class": _skeleton("_make_skeleton_class"),
    "_make_skeleton_enum": _skeleton("_make_skeleton_enum"),
    "_class_setstate": _class_setstate,
}


# -- what cannot be pickled ------------------------------------------------------------------------
_DEEP: Final = 12


def path_to(func: object, fails: Callable[[object], bool]) -> str:
    """Return the path from `func` to the part that `fails`, such as ``global 'helper', global 'LOCK'``; "" if none.

    Each step is tried alone, so that this is for errors only.
    """
    path, at, seen = [], func, {id(func)}
    for _ in range(_DEEP):
        culprit = next(((step, held) for step, held in _held(at) if id(held) not in seen and fails(held)), None)
        if culprit is None:
            break
        path.append(culprit[0])
        at = culprit[1]
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
