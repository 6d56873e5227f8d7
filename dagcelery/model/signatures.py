"""What a call of a function may give: told by the outermost function that says so, since that is what is called."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, MethodType
from typing import Any, Final
from weakref import WeakKeyDictionary

_LENIENT: Final[dict[str, Any]] = {}
if sys.version_info >= (3, 14):
    from annotationlib import Format

    _LENIENT["annotation_format"] = Format.FORWARDREF
"""Annotations are evaluated lazily from 3.14 on; one that names what is imported for type checkers only would raise."""

_LAYERS: Final = 20
"""Objects that have any attribute one asks for would be unwrapped for ever."""

_known: WeakKeyDictionary[FunctionType, inspect.Signature] = WeakKeyDictionary()


def signature(func: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of `func`; None for the built-in functions that have none.

    `inspect.signature` reads the innermost of wrapped functions, even where a wrapper takes other arguments.
    """
    if not isinstance(func, FunctionType):
        return _read(func)
    found = _known.get(func) or _read(func)
    if found is not None:
        _known[func] = found
    return found


def says(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return `func`, or the one of the functions in it, that names the parameters."""
    return list(_layers(func))[-1]


def _read(func: Callable[..., Any]) -> inspect.Signature | None:
    try:
        if isinstance(func, MethodType):
            inner = _read(func.__func__)
            return None if inner is None else _without(inner)
        if isinstance(func, functools.partial):
            return _own(functools.partial(_with(_read(func.func)), *func.args, **func.keywords))
        *passing, last = _layers(func)
        found = _own(last) if not passing else _read(last)
    except (TypeError, ValueError):
        return None
    for layer in reversed(passing):
        found = _passed_on(found, layer)
    return found


def _layers(func: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield `func` and what it wraps, as long as all that is known of a call is that everything is passed on."""
    for _ in range(_LAYERS):
        yield func
        wrapped = None if isinstance(func, type | MethodType | functools.partial) else _wrapped_by(func)
        if wrapped is None or _names_parameters(func):
            return
        func = wrapped


def _wrapped_by(func: Callable[..., Any]) -> Callable[..., Any] | None:
    wrapped = getattr(func, "__wrapped__", None)
    return wrapped if callable(wrapped) else None


def _names_parameters(func: Callable[..., Any]) -> bool:
    try:
        kinds = {each.kind for each in _own(func).parameters.values()}
    except (TypeError, ValueError):
        return False  # such as what functools.cache makes, which is written in C
    return _states(func) or inspect.Parameter.VAR_KEYWORD not in kinds or not kinds <= _REST


_REST: Final[frozenset[Any]] = frozenset({inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD})


def _states(func: Callable[..., Any]) -> bool:
    """Whether `func` has a ``__signature__`` of its own; functools.wraps copies that of the wrapped function."""
    given = getattr(func, "__signature__", None)
    return given is not None and given is not getattr(_wrapped_by(func), "__signature__", None)


def _own(func: Callable[..., Any]) -> inspect.Signature:
    if isinstance(func, type):
        return inspect.signature(func, **_LENIENT)
    if _states(func):
        return inspect.signature(func, follow_wrapped=False, **_LENIENT)
    if isinstance(func, FunctionType) and hasattr(func, "__signature__"):
        plain = FunctionType(func.__code__, func.__globals__, argdefs=func.__defaults__, closure=func.__closure__)
        plain.__kwdefaults__ = func.__kwdefaults__
        func = functools.update_wrapper(plain, func, updated=())
    call = inspect.getattr_static(type(func), "__call__", None)
    found = _read(call) if isinstance(call, FunctionType) else None
    if found is not None:
        return _without(found)
    return inspect.signature(func, follow_wrapped=False, **_LENIENT)


def _passed_on(found: inspect.Signature | None, wrapper: Callable[..., Any]) -> inspect.Signature | None:
    """Return what is left to give to `wrapper`, which passes on what it gets to what takes `found`."""
    if found is None:
        return None
    leading, named = _filled_in(wrapper)
    parameters = list(found.parameters.values())[leading:]
    parameters = [each for each in parameters if each.name not in named]
    try:
        takes = {each.kind for each in _own(wrapper).parameters.values()}
    except (TypeError, ValueError):
        takes = set(_REST)
    if inspect.Parameter.VAR_POSITIONAL not in takes:
        parameters = list(map(_by_name_only, parameters))
    return found.replace(parameters=parameters)


def _by_name_only(parameter: inspect.Parameter) -> inspect.Parameter:
    is_plain = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    return parameter.replace(kind=parameter.KEYWORD_ONLY) if is_plain else parameter


def _filled_in(wrapper: Callable[..., Any]) -> tuple[int, frozenset[str]]:
    """Return how many leading arguments a wrapper gives itself, and which by name.

    Only its source tells, as in ``return f(connection(), *args, **kwargs)``. Where it cannot be read, or says two
    things, everything is taken to come from outside: a call that is wrong for that raises a TypeError.
    """
    if not isinstance(wrapper, FunctionType) or not wrapper.__closure__:
        return 0, frozenset()
    cells = zip(wrapper.__code__.co_freevars, wrapper.__closure__, strict=True)
    names = {name for name, cell in cells if _holds(cell, wrapper.__dict__["__wrapped__"])}
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(wrapper.__code__)))
    except (OSError, SyntaxError, ValueError):
        return 0, frozenset()
    told = {_extra(call) for call in _calls(ast.walk(tree), names)}
    return told.pop() if len(told) == 1 else (0, frozenset())


def _holds(cell: Any, wrapped: object) -> bool:
    try:
        return cell.cell_contents is wrapped
    except ValueError:
        return False


def _calls(nodes: Iterable[ast.AST], names: set[str]) -> Iterator[ast.Call]:
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node


def _extra(call: ast.Call) -> tuple[int, frozenset[str]]:
    starred = [isinstance(argument, ast.Starred) for argument in call.args]
    leading = starred.index(True) if True in starred else 0
    return leading, frozenset(each.arg for each in call.keywords if each.arg)


def _without(found: inspect.Signature) -> inspect.Signature:
    """Return a signature without the object that a method is bound to."""
    parameters = list(found.parameters.values())
    is_rest = bool(parameters) and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL
    return found if is_rest else found.replace(parameters=parameters[1:])


def _with(found: inspect.Signature | None) -> Callable[..., Any]:
    """Return a function that has this signature, for `inspect` to work out what is left of it."""
    if found is None:
        raise ValueError("no signature found")

    def stand_in(*_: object, **__: object) -> None: ...

    stand_in.__signature__ = found  # type: ignore[attr-defined]
    return stand_in
