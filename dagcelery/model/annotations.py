"""The annotations of functions; one that cannot be evaluated is ignored."""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import FunctionType, GenericAlias
from typing import Annotated, Any, Final, ForwardRef, Literal, get_args, get_origin
from weakref import WeakKeyDictionary

from dagcelery.model.signatures import says, signature
from dagcelery.objects import cell_contents

_known: WeakKeyDictionary[FunctionType, tuple[dict[str, object], dict[str, object]]] = WeakKeyDictionary()
"""Annotations as written, and evaluated: dynamic tasks make nodes of the same functions again and again."""

_QUOTES: Final = 3
"""A name may stand for a text that is an annotation again, such as itself."""
_LAYERS: Final = 20

LAZY: Final = frozenset({Iterable, Iterator, Collection, Sequence})


class Unread:
    """Stands for a name that cannot be resolved: most often it is imported for type checkers only."""

    def __getattr__(self, name: str) -> Unread:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, _: object) -> Unread:
        return self

    def __or__(self, _: object) -> Unread:
        return self

    __ror__ = __or__

    def __call__(self, *_: object, **__: object) -> Unread:
        return self


def hints(func: Callable[..., Any]) -> dict[str, object]:
    """Return the annotations of `func` by parameter name, and "return", with their `Annotated` metadata.

    `typing.get_type_hints` is not used, because one name imported under TYPE_CHECKING makes it raise for all. Here
    it is `Unread`, and the rest is read.
    """
    return _hints(_plain(func))


def fields(cls: type) -> dict[str, object]:
    """Return the annotations of what stands in a class, by name."""
    return _hints(cls)


def _hints(func: Callable[..., Any]) -> dict[str, object]:
    written, is_complete = _written(func)
    known = _known.get(func) if isinstance(func, FunctionType) else None
    if known is not None and known[0] == written:
        return dict(known[1])
    scope = _Scope(_author(func, written))
    found = {name: _evaluated(hint, scope) for name, hint in written.items()}
    found = {name: hint for name, hint in found.items() if hint is not None and not isinstance(hint, Unread)}
    if isinstance(func, FunctionType) and is_complete and not scope.missed:  # else a name may still be defined
        _known[func] = dict(written), found
    return dict(found)


def bare(hint: object) -> object:
    """Return `hint` without its `Annotated` metadata."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def lazy_parameters(func: Callable[..., Any], names: Iterable[str]) -> frozenset[str]:
    """Return those of `names` that `func` promises only to iterate: they need not be made a list for it."""
    known = hints(func)
    rest = known.get(_keywords(func) or "")
    return frozenset(name for name in names if _is_lazy(known.get(name, rest)))


def promise(func: Callable[..., Any]) -> Literal["iterable", "list"] | None:
    """Return what `func` says that it returns: a list, no more than something to be iterated, or neither of them."""
    hint = bare(hints(func).get("return"))
    if _is_lazy(hint):
        return "iterable"
    return "list" if (get_origin(hint) or hint) is list else None


def _plain(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that has the annotations, which is the one whose parameters a call has to fit."""
    if isinstance(func, FunctionType) and "__wrapped__" not in func.__dict__:
        return func  # which most are, and is asked for with each node that a running task makes
    while True:
        inner: Any = func.func if isinstance(func, functools.partial) else getattr(says(func), "__func__", says(func))
        if inner is func:
            break
        func = inner
    call = (
        getattr(func, "__init__", None)
        if isinstance(func, type)
        else inspect.getattr_static(type(func), "__call__", None)
    )
    return call if isinstance(call, FunctionType) else func


def _written(func: Callable[..., Any]) -> tuple[dict[str, object], bool]:
    """Return the annotations as they stand in the code, and whether all of them could be read."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        # This evaluates them, so it may raise anything.
        with suppress(Exception):
            return func.__annotations__, True
        for format in (Format.FORWARDREF, Format.STRING):
            with suppress(Exception):
                return get_annotations(func, format=format), False
        return {}, False
    return getattr(func, "__annotations__", {}), True


def _author(func: Any, written: Mapping[str, object]) -> Any:
    """Return the function that `written` was written for: functools.wraps copies annotations, but not their scope."""
    for _ in range(_LAYERS):
        inner = getattr(func, "__wrapped__", None)
        if inner is None or list(_written(inner)[0].items()) != list(written.items()):
            break
        func = inner
    return func


class _Scope(ChainMap[str, object]):
    """The names that annotations of a function may mention; all others are `Unread`."""

    def __init__(self, func: Any) -> None:
        code, cells = getattr(func, "__code__", None), getattr(func, "__closure__", None) or ()
        own: dict[str, object] = {each.__name__: each for each in getattr(func, "__type_params__", ())}
        for name, cell in zip(getattr(code, "co_freevars", ()), cells, strict=False):
            own.update((name, value) for value in cell_contents(cell))
        home = sys.modules.get(getattr(func, "__module__", ""), builtins)
        super().__init__(own, getattr(func, "__globals__", home.__dict__), builtins.__dict__)
        self.missed = False

    def __missing__(self, _: str) -> Unread:
        self.missed = True
        return Unread()


def _is_lazy(hint: object) -> bool:
    hint = bare(hint)
    return (get_origin(hint) or hint) in LAZY if _is_hashable(hint) else False


def _is_hashable(hint: object) -> bool:
    try:
        hash(hint)
    except TypeError:
        return False
    return True


def _keywords(func: Callable[..., Any]) -> str | None:
    found = signature(func)
    kinds = {p.kind: p.name for p in found.parameters.values()} if found else {}
    return kinds.get(inspect.Parameter.VAR_KEYWORD)


def _evaluated(hint: object, scope: _Scope) -> object:
    for _ in range(_QUOTES):
        if not isinstance(hint, str | ForwardRef):
            break
        text = hint if isinstance(hint, str) else hint.__forward_arg__
        try:
            hint = eval(text, {}, scope)  # the author's own annotation, as typing.get_type_hints evaluates it
        except Exception:
            scope.missed = True
            return Unread()
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        inner = _evaluated(args[0], scope)
        return hint if inner is args[0] else Annotated[(inner, *args[1:])]
    if not isinstance(origin, type) or not issubclass(origin, Iterable):
        return hint
    parts = tuple([_evaluated(arg, scope) for arg in args])
    return hint if all(new is old for new, old in zip(parts, args, strict=True)) else GenericAlias(origin, parts)
