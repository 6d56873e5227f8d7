"""A function is named so that another process finds it: by module and name if they lead to it, else by value.

By name only if ``sys.modules[module]`` resolves the name to this very function, or to a task or wrapper
around it, and the module is not a script. By value it is pickled with what it captures, and only signed data
may carry it.

A hash of its code changes if the function does something else, not if its file is moved.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import os
import sys
import types
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, Protocol, TypedDict
from weakref import WeakKeyDictionary

from dagcelery.errors import DeserializationError, FunctionNotAllowed, FunctionNotFound, SerializationError
from dagcelery.objects import cell_contents, is_named, is_routine
from dagcelery.payload import pickles
from dagcelery.payload.pickles import path_to
from dagcelery.payload.signing import Keyring
from dagcelery.text import shown

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


PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The version whose bytecode is in a function that this process pickles."""

_LARGE_BYTES: Final = 1024 * 1024

_WRAPPED: Final = ("fn", "__wrapped__", "run")
"""Where a task of ours, a decorated function and a Celery task keep the function that they wrap."""

_LAYERS: Final = 20
"""Objects that have any attribute one asks for would be unwrapped for ever."""


class LargeCaptureWarning(UserWarning):
    """A function that travels by value carries more than 1 MB of data with it, in every plan."""


class Description(TypedDict):
    """How a function is found elsewhere; an empty `module` means by value."""

    module: str
    qualname: str
    hash: str
    python: str
    live: Callable[..., Any]
    by_value: tuple[str, ...]


class Spec(Protocol):
    """What a plan says of a function."""

    @property
    def module(self) -> str: ...
    @property
    def qualname(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def blob(self) -> bytes | None: ...
    @property
    def python(self) -> str: ...
    @property
    def live(self) -> Callable[..., Any] | None: ...


def describe(func: Callable[..., Any], *, by_value: Sequence[str] = ()) -> Description:
    """Say how another process finds `func`.

    `by_value` names modules, such as the files beside a script, that workers cannot import: functions in
    them, and what they use of each other, travel by value.
    """
    name = _name_of(func)
    if name is not None and _within(name[0], by_value):
        name = None
    module, qualname = name or ("", _title(func))
    return Description(
        module=module,
        qualname=qualname,
        hash=code_hash(func),
        python=PYTHON,
        live=func,
        by_value=tuple(by_value),
    )


def pickled(func: Callable[..., Any], *, by_value: Sequence[str] = ()) -> bytes:
    """Return `func` by value, with what it captures; LargeCaptureWarning above 1 MB, naming what is large."""
    blob = _pickle(func, by_value)
    if len(blob) > _LARGE_BYTES:
        captured = _largest_captures(func, by_value)
        warnings.warn(
            f"function {_title(func)} travels by value with {len(blob):,} bytes"
            f"{f', as it captures {captured}' if captured else ''}; "
            "pass large data as a parameter, or load it inside of the function",
            LargeCaptureWarning,
            stacklevel=2,
        )
    return blob


def load(
    spec: Spec,
    *,
    imports: Collection[str] | None,
    keyring: Keyring,
) -> Callable[..., Any]:
    """Return the function that a plan names.

    `imports` are the modules and packages that unsigned plans may name, checked before anything is imported;
    None keeps no such list and is for plans that this process made itself. A signed plan may name any module and
    carry functions by value. What is not there may have moved: a task in a module that is imported here has it among
    its `__aliases__`.

    Raises FunctionNotFound, FunctionNotAllowed, NotConfigured for a function by value without a key, and
    DeserializationError for one that cannot be unpickled here.
    """
    if spec.live is not None:
        return spec.live
    if not spec.module:
        return _load_by_value(spec, keyring)
    allowed = None if keyring.signed else imports
    if allowed is not None and not _within(spec.module, allowed):
        raise FunctionNotAllowed(spec.module, spec.qualname)
    try:
        target = _resolved(spec, allowed)
    except FunctionNotFound:
        target = _moved(f"{spec.module}:{spec.qualname}", allowed)
        if target is None:
            raise
    wrapped = list(layers(target))
    # The layer with the planned code is the planned function; if the code has changed, it is the first real function.
    same = (layer for layer in wrapped if spec.hash and code_hash(layer) == spec.hash)
    real = (layer for layer in wrapped if _is_function(layer))
    chosen: Callable[..., Any] = next(same, None) or next(real, target)
    return chosen


def _load_by_value(spec: Spec, keyring: Keyring) -> Callable[..., Any]:
    keyring.require_key(f"function {spec.qualname}, which travels by value,")
    if spec.python and spec.python != PYTHON:
        raise DeserializationError(
            f"function {spec.qualname}",
            f"travels by value from Python {spec.python}, whose bytecode Python {PYTHON} cannot run",
            "use one version everywhere, or put the function into a module that workers can import",
        ) from ImportError(f"bytecode of Python {spec.python}")
    try:
        func: Callable[..., Any] = pickles.loads(spec.blob or b"")
    except (Exception, SystemExit, GeneratorExit) as error:  # imports and __setstate__ methods raise what they like
        raise DeserializationError(
            f"function {spec.qualname}",
            f"cannot be unpickled: {type(error).__name__}: {error}",
            "install what it uses on the workers, or name local modules with by_value=",
        ) from error
    return func


def _resolved(spec: Spec, allowed: Collection[str] | None) -> Any:
    try:
        module = pickles.import_module(spec.module)
    except (Exception, SystemExit, GeneratorExit) as error:  # a module's body raises what it likes
        reason = f"importing {spec.module} raised {type(error).__name__}: {error}"
        raise FunctionNotFound(spec.module, spec.qualname, reason) from error
    target: Any = module
    for name in spec.qualname.split("."):
        # An allowed module gives access to what it defines, not to what it imported: m:os.system is refused.
        if allowed is not None and target is not module and not isinstance(target, type):
            raise FunctionNotAllowed(spec.module, spec.qualname)
        try:
            target = getattr(target, name)
        except AttributeError as error:
            raise FunctionNotFound(spec.module, spec.qualname, f"it has no {name!r} here") from error
    if not _is_at_home(target, allowed):
        raise FunctionNotAllowed(_home(target) or spec.module, spec.qualname)
    if not callable(target):
        reason = f"it is of type {type(target).__name__}, which cannot be called"
        raise FunctionNotFound(spec.module, spec.qualname, reason)
    return target


def _moved(former: str, allowed: Collection[str] | None) -> Any:
    """Return the task, of those in imported modules, that had this name formerly, or None."""
    for module in list(sys.modules.values()):
        for task in list(getattr(module, "__dict__", {}).values()):
            # Proxies and lazy modules answer to every name: what a class declares itself is asked for without them.
            if "__aliases__" in vars(type(task)) and former in task.__aliases__ and _is_at_home(task, allowed):
                return task
    return None


def _is_at_home(target: Any, allowed: Collection[str] | None) -> bool:
    return allowed is None or all(_within(_home(layer), allowed) for layer in _innermost(target))


def _name_of(func: Callable[..., Any]) -> tuple[str, str] | None:
    """Return module and qualified name if they lead another process to `func`."""
    qualname = getattr(func, "__qualname__", None)
    module = getattr(func, "__module__", None)
    if not isinstance(qualname, str) or not isinstance(module, str) or "<" in qualname:
        return None
    target: Any = sys.modules.get(module)
    if target is None:
        return None
    for name in qualname.split("."):
        target = getattr(target, name, None)
    if not any(layer is func or _same_method(layer, func) for layer in layers(target)):
        return None
    if module in pickles.SCRIPTS:
        module = pickles.module_that_runs(module) or ""
    return (module, qualname) if module else None


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


def _innermost(obj: Any) -> list[Any]:
    # A wrapper object of ours or of Celery lives in a library; what it wraps has to be at home in the list.
    return [layer for layer in layers(obj) if _is_function(layer)] or [obj]


def _is_function(obj: Any) -> bool:
    return is_routine(obj) or isinstance(obj, type)


def _same_method(layer: Any, func: Any) -> bool:
    return isinstance(layer, types.MethodType) and isinstance(func, types.MethodType) and layer == func


def _home(obj: Any) -> str:
    home = getattr(obj, "__module__", None)
    return home if isinstance(home, str) else ""


def _within(module: str, packages: Collection[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _title(func: Any) -> str:
    title = getattr(func, "__qualname__", None) or getattr(func, "__name__", None)
    if isinstance(func, functools.partial):
        return f"partial({_title(func.func)})"
    return title if isinstance(title, str) else type(func).__qualname__


def _pickle(obj: object, by_value: Sequence[str]) -> bytes:
    unknown = next((name for name in by_value if name not in sys.modules), None)
    if unknown is not None:
        remedy = "name a module that the function's own module imports"
        raise SerializationError(f"by_value={shown(unknown)} of {_title(obj)}", "is not a module in use here", remedy)
    try:
        return pickles.dumps(obj, by_value)
    except Exception as error:  # __reduce__ methods raise what they like
        path = path_to(obj, lambda held: _fails(pickles.dumps, held))
        raise SerializationError(
            f"function {_title(obj)}",
            f"cannot travel by value{f' with its {path}' if path else ''}: {type(error).__name__}: {error}",
            "put it into a module that workers can import, or open what it captures inside of it",
        ) from error


def _fails(dumps: Callable[[object], object], value: object) -> bool:
    try:
        dumps(value)
    except Exception:
        return True
    return False


def _largest_captures(func: Any, by_value: Sequence[str]) -> str:
    inner = next((layer for layer in layers(func) if isinstance(layer, types.FunctionType)), None)
    if inner is None:
        return ""
    variables = inspect.getclosurevars(inner)
    sizes: list[tuple[int, str]] = []
    for name, value in {**variables.globals, **variables.nonlocals}.items():
        try:
            sizes.append((len(_pickle(value, by_value)), name))
        except SerializationError:
            continue
    large = sorted(sizes, reverse=True)[:3]
    return ", ".join(f"{name} ({size:,} bytes)" for size, name in large if size > _LARGE_BYTES // 16)
