"""Copies of any Python objects as they are now, and their identity, which tells whether two objects are the same.

Both follow what pickle would write, since that would be sent. ``__eq__`` and ``__deepcopy__`` of users' classes are not
called: the one may ignore fields, and the other ignores captured variables of a function. Classes, modules and
importable functions are not copied; other functions are their code and the variables that they capture.
"""

from __future__ import annotations

import copy
import copyreg
import functools
import inspect
import io
import marshal
import pickle
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from dagcelery.signatures import cell_contents, is_named

T = TypeVar("T")

ATOMS: Final = frozenset({int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented)})
"""Types of immutable values that contain no others."""
_INEXACT: Final = frozenset({float, complex})
PROTOCOL: Final = 5

Name = Callable[[Any], object]


class Hidden(Exception):
    """An object contains another, `value`, of a type that it must not contain."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


class Searching(dict[int, Any]):
    """The memo of a deep copy, in which an object that must not be contained leaves itself as `culprit`."""

    culprit: Any = None


def is_atom(value: object) -> bool:
    """Return whether a value is immutable all through: an atom, or a tuple of atoms."""
    return type(value) in ATOMS or (type(value) is tuple and ATOMS.issuperset(map(type, value)))


def copied(value: T) -> T:
    """Return a copy of a value as it is now. If it cannot be copied, the error of its class is raised."""
    return value if is_atom(value) else cast(T, _copied(value, None).value)


def listed(values: Iterable[Any]) -> list[Any]:
    """Return copies of the elements of an iterable, made as they come: it may change one object and yield it again."""
    return [copied(value) for value in values]


def same(one: object, other: object) -> bool:
    """Return whether two values have the same type and the same identity."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) in ATOMS:
        # Only their repr tells 0.0 and -0.0 apart; the repr of an int may be refused if it is long.
        return repr(one) == repr(other) if type(one) in _INEXACT else bool(one == other)
    own = identity(one)
    return own == identity(other) if own is not None else _is_equal(one, other)


def identity(value: object) -> Identity | None:
    """Return the identity of a value in this process; None for one that cannot be pickled."""
    pickler = _IdentityPickler(id)
    try:
        return Identity(pickler.digest(value), tuple(pickler.live))
    except Exception:  # pickling runs the classes' own code, which may raise anything
        return None


def portable_identity(value: object, name: Name) -> str | None:
    """Return the identity of a value in all processes; None for one that cannot be pickled.

    The order of dicts does not count. `name` returns the name of a class, a function or a module.
    """
    try:
        return _IdentityPickler(name, is_ordered=False).digest(value).hex()
    except Exception:
        return None


class Identity:
    """A digest to be compared and hashed, which keeps the classes and functions alive that are part of it."""

    __slots__ = ("_digest", "_live")

    def __init__(self, digest: bytes, live: tuple[object, ...]) -> None:
        self._digest = digest
        self._live = live

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)


class Copies:
    """Copies of objects that may change; an unchanged object gets its last copy again.

    `hidden` is a type whose objects may not be contained in others.
    """

    def __init__(self, hidden: type) -> None:
        self._hidden = hidden
        self._last: dict[int, tuple[object, _Copy]] = {}
        self._now: dict[int, Any] = {}

    def outdate(self) -> None:
        """Note that objects may have changed since the last copy."""
        self._now.clear()

    def take(self, value: Any) -> Any:
        """Return a copy of `value` as it is now.

        Raises Hidden; if the value cannot be copied, the error of its class.
        """
        if id(value) not in self._now:
            _, last = self._last.get(id(value), (None, None))
            copy = _copied(value, self._hidden, last)
            # The object is held, so that its id stays its own.
            self._last[id(value)] = value, copy
            self._now[id(value)] = copy.value
        return self._now[id(value)]


@dataclass(slots=True)
class _Copy:
    """A copy, and its parts: pickled bytes, objects that were not copied, and large buffers, which the copy uses."""

    value: Any
    stream: bytes = b""
    live: Sequence[object] = ()
    buffers: Sequence[bytearray] = ()


def _copied(value: Any, hidden: type | None, last: _Copy | None = None) -> _Copy:
    """Return a copy; the last one, if it has the same parts."""
    copier = _Copier(hidden)
    try:
        copier.dump(value)
        if copier.culprit is None:
            return last if last is not None and copier.is_like(last) else copier.loaded()
    except Exception as error:
        if copier.culprit is None:
            return _Copy(_copied_deeply(value, error))
    raise Hidden(copier.culprit)


def _copied_deeply(value: Any, refused: Exception) -> Any:
    """Return the deep copy of an object that cannot be pickled; if there is none, raise the error `refused`."""
    memo = Searching()
    try:
        copied = copy.deepcopy(value, memo)
    except Exception:
        raise refused from None
    if memo.culprit is not None:
        raise Hidden(memo.culprit)
    return copied


def _is_equal(one: object, other: object) -> bool:
    """Return whether objects that cannot be pickled are equal by their own `__eq__`, the only way left."""
    try:
        return bool(one == other)
    except Exception:  # arrays have no single answer, and users' classes may do anything
        return False


class _Live:
    """Represents, during pickling, an object that is not copied."""

    __slots__ = ("it",)

    def __init__(self, it: object) -> None:
        self.it = it


class _Pickler(pickle.Pickler):
    """Pickles into memory, with large buffers outside the stream."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._buffers: list[pickle.PickleBuffer] = []
        super().__init__(self._file, PROTOCOL, buffer_callback=self._buffers.append)


class _Copier(_Pickler):
    """Pickles an object to load it again at once."""

    def __init__(self, hidden: type | None) -> None:
        super().__init__()
        self.live: list[object] = []
        self._hidden = hidden
        self._numbers: dict[int, int] = {}
        self.culprit: Any = None

    def persistent_id(self, obj: Any) -> Any:
        kind = type(obj)
        if kind in ATOMS:
            return None
        if self._hidden is not None and issubclass(kind, self._hidden):
            self.culprit = obj
            raise Hidden(obj)
        if kind is _Live:
            return self._number(obj.it)
        if kind is types.FunctionType:
            return self._number(obj) if _holds_nothing(obj) or is_named(obj) else None
        return self._number(obj) if _is_live(obj, kind) or _is_named_wrapper(obj) else None

    def reducer_override(self, obj: Any) -> Any:
        return _reduced(obj, _Live(obj)) if type(obj) is types.FunctionType else NotImplemented

    def _number(self, obj: object) -> int:
        number = self._numbers.setdefault(id(obj), len(self.live))
        if number == len(self.live):
            self.live.append(obj)
        return number

    def is_like(self, last: _Copy) -> bool:
        """Return whether a copy has the same parts; comparing large buffers is faster than hashing them."""
        if len(self.live) != len(last.live) or len(self._buffers) != len(last.buffers):
            return False
        return (
            self._file.getbuffer() == last.stream
            and all(one is other for one, other in zip(self.live, last.live, strict=True))
            and all(old == each.raw() for each, old in zip(self._buffers, last.buffers, strict=True))
        )

    def loaded(self) -> _Copy:
        raws = [each.raw() for each in self._buffers]
        buffers = [bytearray(raw) for raw in raws]
        parts = [memoryview(own).toreadonly() if raw.readonly else own for own, raw in zip(buffers, raws, strict=True)]
        stream = self._file.getvalue()
        return _Copy(_CopyLoader(stream, self.live, parts).load(), stream, self.live, buffers)


class _CopyLoader(pickle.Unpickler):
    def __init__(self, data: bytes, live: list[object], buffers: Sequence[bytearray | memoryview]) -> None:
        super().__init__(io.BytesIO(data), buffers=buffers)
        self._live = live

    def persistent_load(self, pid: Any) -> Any:
        return self._live[pid]


class CanonicalPickler(_Pickler):
    """Pickles objects so that the bytes can be compared.

    They do not depend on whether equal texts are one object, nor on the order of a set's members.
    """

    def persistent_id(self, obj: Any) -> Any:
        """Return the data that is pickled instead of an object; None for the object itself."""
        kind = type(obj)
        if kind is str:
            return b"s" + obj.encode("utf-8", "surrogatepass")  # a new object each time, so that the memo never has it
        if kind is bytes:
            return b"b" + obj
        if kind in ATOMS:
            return None
        if kind is set or kind is frozenset:
            return [kind.__name__, sorted(map(self.digest_apart, obj))]
        return self.stand_in(obj, kind)

    def stand_in(self, obj: Any, kind: type) -> Any:
        """Return the data that is pickled instead of an object that is not plain data."""
        return None

    def digest(self, value: object) -> bytes:
        """Pickle one value, and return 32 bytes. If it cannot be pickled, the error of its class is raised."""
        import hashlib  # here, since it loads OpenSSL, which writing DAGs never needs

        self.dump(value)
        digest = hashlib.sha256(self._file.getbuffer())
        for buffer in self._buffers:
            raw = buffer.raw()
            digest.update(b"%d:" % raw.nbytes)
            digest.update(raw)
        return digest.digest()

    def digest_apart(self, value: object) -> bytes:
        """Return the digest of a part of the value, independent of the rest."""
        raise NotImplementedError


class _IdentityPickler(CanonicalPickler):
    def __init__(self, name: Name, *, is_ordered: bool = True) -> None:
        super().__init__()
        self.live: list[object] = []
        self._name = name
        self._is_ordered = is_ordered

    def stand_in(self, obj: Any, kind: type) -> Any:
        if kind is dict and not self._is_ordered:
            digest = self.digest_apart
            return ["dict", sorted((digest(key), digest(value)) for key, value in obj.items())]
        if kind is _Live:
            return self._named(obj.it)
        if kind is types.FunctionType:
            return self._named(obj) if is_named(obj) else None
        return self._named(obj) if _is_live(obj, kind) else None

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is types.FunctionType:
            return _reduced(obj)
        if type(obj) in copyreg.dispatch_table:
            return NotImplemented
        reduced = obj.__reduce_ex__(PROTOCOL)
        # An object that is pickled by its name is identified by itself: the name may mean another object later.
        return (_itself, (_Live(obj),)) if isinstance(reduced, str) else reduced

    def _named(self, obj: object) -> object:
        if type(obj) is types.CodeType:
            return marshal.dumps(obj)
        if type(obj) is dict:  # the globals of a function
            return self._name(sys.modules.get(obj.get("__name__", ""), obj))
        self.live.append(obj)
        return ["live", self._name(obj)]

    def digest_apart(self, value: object) -> bytes:
        pickler = _IdentityPickler(self._name, is_ordered=self._is_ordered)
        digest = pickler.digest(value)
        self.live += pickler.live
        return digest


def is_routine(obj: object) -> bool:
    """Return whether an object is a function or a method; since Python 3.14 `inspect` includes partials."""
    return inspect.isroutine(obj) and not isinstance(obj, functools.partial)


def _is_named_wrapper(obj: Any) -> bool:
    """Return whether an object that looks like the function that it wraps, such as a task, can be found by its name."""
    return "__qualname__" in getattr(obj, "__dict__", ()) and is_named(obj)


def _is_live(obj: Any, kind: type) -> bool:
    if issubclass(kind, type) or kind is types.ModuleType or kind is types.CodeType:
        return True
    return kind is types.BuiltinFunctionType and isinstance(obj.__self__, types.ModuleType | type | None)


def _holds_nothing(func: Any) -> bool:
    return (
        not func.__closure__
        and not func.__kwdefaults__
        and not func.__dict__
        and (func.__defaults__ is None or is_atom(func.__defaults__))
    )


def _reduced(func: types.FunctionType, model: object = None) -> tuple[Any, ...]:
    contents = [cell_contents(cell) for cell in func.__closure__ or ()]
    arguments = (model, _Live(func.__code__), _Live(func.__globals__), func.__name__, func.__qualname__, len(contents))
    state = func.__defaults__, func.__kwdefaults__, func.__module__, func.__dict__, contents
    return _function, arguments, state, None, None, _fill


def _function(model: Any, code: Any, scope: Any, name: str, qualname: str, cells: int) -> Any:
    func = types.FunctionType(code, scope, name, None, tuple([types.CellType() for _ in range(cells)]))
    func.__qualname__ = qualname
    func.__doc__ = model.__doc__
    # From Python 3.14 on annotations are evaluated when they are asked for, and need not be there yet.
    name = "__annotate__" if hasattr(model, "__annotate__") else "__annotations__"
    setattr(func, name, getattr(model, name))
    return func


def _fill(func: Any, state: Any) -> None:
    func.__defaults__, func.__kwdefaults__, func.__module__, attributes, contents = state
    func.__dict__.update(attributes)
    for cell, content in zip(func.__closure__ or (), contents, strict=True):
        if content:
            cell.cell_contents = content[0]


def _itself(obj: object) -> object:
    return obj
