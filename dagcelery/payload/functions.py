"""A function is named so that another process finds it: by module and name if they lead to it, else by value.

By name only if ``sys.modules[module]`` resolves the name to this very function, or to a task or wrapper
around it, and the module is not a script. By value it is pickled with what it captures, and only signed data
may carry it.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypedDict

from dagcelery.errors import DeserializationError, FunctionNotAllowed, FunctionNotFound, SerializationError
from dagcelery.objects import is_routine
from dagcelery.payload import pickles
from dagcelery.payload.fingerprints import code_hash, layers
from dagcelery.payload.pickles import path_to
from dagcelery.payload.signing import Keyring
from dagcelery.text import shown

PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The version whose bytecode is in a function that this process pickles."""

_LARGE_BYTES: Final = 1024 * 1024


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
    carry functions by value. What is not there may have moved: a task of one of these modules, or of one that is
    imported here, has it among its `__aliases__`.

    Raises FunctionNotFound, FunctionNotAllowed, NotConfigured for a function by value without a key, and
    DeserializationError for one that cannot be unpickled here.
    """
    if spec.live is not None:
        return spec.live
    if not spec.module:
        return _load_by_value(spec, keyring)
    allowed = None if keyring.signed else imports
    try:
        target = _resolved(spec, allowed)
    except (FunctionNotFound, FunctionNotAllowed):
        target = _moved(f"{spec.module}:{spec.qualname}", imports or (), allowed)
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
    if allowed is not None and not _within(spec.module, allowed):
        raise FunctionNotAllowed(spec.module, spec.qualname)
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


def _moved(former: str, imports: Iterable[str], allowed: Collection[str] | None) -> Any:
    """Return the task that had this name formerly, of those in imported modules and in `imports`, or None."""
    for name in {*imports} - sys.modules.keys():
        with suppress(Exception, SystemExit, GeneratorExit):  # a module's body raises what it likes
            pickles.import_module(name)
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
