"""DAGs that were read from functions are remembered, each with a snapshot of all that its body depends on.

A body is a function, so its code and its surroundings decide what it does: globals, free variables, attributes of
modules, classes and objects, defaults, and the same of each function that it calls. A snapshot holds all of these, and
compares them by identity, containers element by element. Some things may give another value each time that they are
used, such as a clock or an object of an unknown class. A body that reads one of these has no snapshot, and is read each
time.
"""

from __future__ import annotations

import builtins
import enum
import itertools
import types
from abc import ABCMeta
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextvars import ContextVar
from functools import partial
from operator import is_
from typing import Any, Final, TypeAlias, cast

from dagcelery import bounded
from dagcelery.frontends.functional.definition import Definition, layers_of
from dagcelery.frontends.functional.source_code import reads
from dagcelery.model.graph import DAG
from dagcelery.objects import ATOMS, identity
from dagcelery.signatures import cell_contents

_ATOMS: Final = ATOMS | {range}
_MOST: Final = 1_000
"""A body that reads more is cheaper to read than to compare."""
_MISSING: Final = object()

# These return equal values for equal arguments, and have no effects. Those that use names, such as getattr, are not
# among them: the code does not say which attribute they read.
_PURE_NAMES: Final = (
    *("abs", "all", "any", "ascii", "bin", "bool", "bytearray", "bytes", "callable", "chr", "complex", "dict"),
    *("divmod", "enumerate", "filter", "float", "format", "frozenset", "hash", "hex", "int", "isinstance"),
    *("issubclass", "iter", "len", "list", "map", "max", "min", "next", "object", "oct", "ord", "pow", "print"),
    *("range", "repr", "reversed", "round", "set", "slice", "sorted", "str", "sum", "tuple", "type", "zip"),
)
_PURE: Final = frozenset(id(getattr(builtins, name)) for name in _PURE_NAMES)
_PURE_MODULES: Final = frozenset({"math", "cmath", "operator", "_operator", "itertools", "functools", "_functools"})
_OWN: Final = ("dagcelery.model.", "dagcelery.frontends.functional.", "dagcelery.payload.formats.")
_METACLASSES: Final = frozenset({type, ABCMeta, enum.EnumMeta})
_OF_TASK: Final = ("_fn", "_options", "_name", "_outputs", "_upstream")
_OF_DAG: Final = ("_fn", "_options", "_name", "_static", "_values", "_node_name", "_upstream")


class NotComparable(Exception):
    """A body reads something that may give another value each time that it is used."""


class Snapshot:
    """Values with their parts, and functions with all that they read. Raises NotComparable."""

    def __init__(self, values: Iterable[object]) -> None:
        self._values: list[tuple[Callable[[], object], object]] = []
        self._contents: list[tuple[Callable[[], Iterable[object]], tuple[object, ...]]] = []
        self._seen: dict[int, object] = {}
        self._note_all(values)
        self._seen.clear()

    def holds(self) -> bool:
        """Whether nothing of it has changed since."""
        for read, value in self._values:  # not a generator: it is done at each call
            if read() is not value:
                return False
        for read_contents, contents in self._contents:
            now = tuple(read_contents())
            if len(now) != len(contents) or not all(map(is_, now, contents)):
                return False
        return True

    def _read(self, read: Callable[[], object]) -> object:
        """Note and return a value that may be another one later."""
        value = read()
        self._values.append((read, value))
        return value

    def _read_contents(self, read: Callable[[], Iterable[object]]) -> tuple[object, ...]:
        contents = tuple(read())
        self._contents.append((read, contents))
        return contents

    def _note(self, value: object) -> None:
        """Note the parts of a value that may change while the value itself stays in its place."""
        kind = type(value)
        if kind in _ATOMS or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if len(self._seen) > _MOST:
            raise NotComparable
        if kind in (tuple, frozenset):
            self._note_all(cast(Iterable[object], value))
        elif kind in (list, set):
            self._note_all(self._read_contents(partial(iter, value)))
        elif kind is dict:
            self._note_all(self._read_contents(partial(_flat, cast(dict[object, object], value))))
        elif kind is types.FunctionType and not _is_own(value):
            self._note_function(cast(types.FunctionType, value))
        elif issubclass(kind, Definition):
            self._note_definition(cast(Definition[..., Any], value))
        elif kind is partial:
            bound = cast("partial[Any]", value)
            self._note_all((bound.func, bound.args, bound.keywords))
        elif not _is_known(value):
            raise NotComparable

    def _note_all(self, values: Iterable[object]) -> None:
        for value in values:
            if type(value) not in _ATOMS:
                self._note(value)

    def _note_function(self, fn: types.FunctionType) -> None:
        self._read_contents(partial(_parts_of, fn))
        self._note_all((fn.__defaults__, fn.__kwdefaults__, fn.__dict__ or None))
        names = reads(fn.__code__)
        if names is None:
            raise NotComparable
        cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
        for is_cell, name, attributes in names:
            value = self._read(partial(_contents_of, cells[name])) if is_cell else self._global(fn, name)
            self._note_last(value, attributes)

    def _note_definition(self, definition: Definition[..., Any]) -> None:
        if definition._bound or definition._upstream:
            raise NotComparable
        parts = vars(definition)
        is_dag = "_static" in parts
        for name in _OF_DAG if is_dag else _OF_TASK:
            self._read(partial(parts.get, name))
        if is_dag:
            self._note_all((definition.fn, dict(parts["_values"])))
        else:  # its calls are recorded, so that only what it may be called with counts
            for layer in layers_of(definition.fn):
                self._read_contents(partial(_parts_of, layer))

    def _global(self, fn: types.FunctionType, name: str) -> object:
        value = self._read(partial(fn.__globals__.get, name, _MISSING))
        return value if value is not _MISSING else self._read(partial(cast(Any, fn).__builtins__.get, name, _MISSING))

    def _note_last(self, value: object, attributes: Iterable[str]) -> None:
        """Note the last of several attributes; objects on the way may be of any class, nothing else of them is read."""
        for name in attributes:
            attribute = _attribute(value, name)
            if attribute is _MISSING:
                break
            self._values.append((partial(getattr, value, name, _MISSING), attribute))
            value = attribute
        if value is not _MISSING:
            self._note(value)


def _attribute(holder: object, name: str) -> object:
    """Return the attribute of an object of which nothing else is read; _MISSING where the object as such counts."""
    kind = type(holder)
    if issubclass(kind, types.ModuleType):
        attribute = vars(holder).get(name, _MISSING)
    elif kind in _METACLASSES and not _is_known(holder):
        attribute = getattr(holder, name, _MISSING)
    else:
        is_plain = kind.__getattribute__ is object.__getattribute__ or issubclass(kind, types.FunctionType)
        is_computed = hasattr(getattr(kind, name, None), "__set__")
        return getattr(holder, "__dict__", {}).get(name, _MISSING) if is_plain and not is_computed else _MISSING
    if attribute is _MISSING:
        raise NotComparable
    return attribute


def _is_known(value: object) -> bool:
    """Whether a value other than a container never changes, and does the same each time it is called."""
    if isinstance(value, type):
        is_error = issubclass(value, BaseException) and value.__module__ == "builtins"
        return id(value) in _PURE or is_error or value.__module__ in _PURE_MODULES or _is_own(value)
    kind = type(value)
    if kind is types.BuiltinFunctionType:
        holder: object = getattr(value, "__self__", None)
        return id(value) in _PURE or (isinstance(holder, types.ModuleType) and holder.__name__ in _PURE_MODULES)
    if issubclass(kind, enum.Enum):
        return _is_plain(kind) and type(cast(enum.Enum, value).value) in _ATOMS
    return _is_own(value if kind is types.FunctionType else kind)


def _is_own(value: object) -> bool:
    module = getattr(value, "__module__", None)
    return isinstance(module, str) and f"{module}.".startswith(_OWN)


def _is_plain(kind: type[enum.Enum]) -> bool:
    """Whether members have no methods of their own, which could be replaced."""
    own = itertools.chain.from_iterable(vars(base).items() for base in kind.__mro__ if base.__module__ not in _BASES)
    return not any(isinstance(value, _CODE) and name not in enum.Enum.__dict__ for name, value in own)


_BASES: Final = frozenset({"enum", "builtins"})
_CODE: Final = (types.FunctionType, property, classmethod, staticmethod)


def _parts_of(fn: types.FunctionType) -> tuple[object, ...]:
    return fn.__code__, fn.__defaults__, fn.__kwdefaults__


def _contents_of(cell: types.CellType) -> object:
    return next(iter(cell_contents(cell)), _MISSING)


def _flat(values: dict[object, object]) -> Iterable[object]:
    return itertools.chain(values, values.values())


Dags: TypeAlias = dict[Hashable, tuple[Snapshot, DAG]]

_MOST_DAGS: Final = 64
"""DAGs of one function, such as one for each value of a static parameter; the oldest is dropped, and read again."""

# Nested DAGs that were read while the outermost one is read; None for one that differs each time.
_READ: ContextVar[dict[Hashable, tuple[object, DAG | None]] | None] = ContextVar("dagcelery_read", default=None)


def remembered(dags: Dags, key: Hashable | None, values: Iterable[object], make: Callable[[], DAG]) -> DAG | None:
    """Return the DAG that `make` made of `values` and the key, or makes now; None if `values` have no snapshot."""
    snapshot, dag = dags.get(key, (None, None))
    if snapshot is not None and snapshot.holds():
        return dag
    dags.pop(key, None)
    if key is None:
        return None
    try:
        before = Snapshot(values)
    except (NotComparable, RecursionError):  # too deeply nested values are refused when they are read
        return None
    dag = make()
    if before.holds():  # else what it reads was changed meanwhile, perhaps by itself
        bounded.put(dags, key, (before, dag), _MOST_DAGS)
    return dag


def read_anew(key: Hashable, holder: object, make: Callable[[], DAG]) -> DAG:
    """Return the DAG that `make` reads now; within the body of another DAG once, unless it differs the second time.

    Outer bodies are run several times, so that reading inner ones in each run would cost ever more from depth to depth.
    The objects whose ids are in `key` are kept alive by `holder`.
    """
    nested = _READ.get()
    if nested is None:
        token = _READ.set({})
        try:
            return make()
        finally:
            _READ.reset(token)
    if key not in nested:
        dag = make()
        nested[key] = holder, dag if dag == make() else None
        return dag
    return nested[key][1] or make()


def key_of(values: Mapping[str, object]) -> Hashable | None:
    """Return the identity of values that nothing can change.

    None if there are lists, which a body may change, or objects, whose classes may change: the body runs each time.
    """
    if not values:
        return ()
    return identity(sorted(values.items())) if all(map(_is_constant, values.values())) else None


def _is_constant(value: object) -> bool:
    if type(value) in (tuple, frozenset):
        return all(map(_is_constant, cast(Iterable[object], value)))
    return type(value) in ATOMS or isinstance(value, enum.Enum)
