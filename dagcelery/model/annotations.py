"""What a function's annotations say; one that cannot be evaluated says nothing."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from types import FunctionType
from typing import Annotated, Any, Final, Literal, get_args, get_origin
from weakref import WeakKeyDictionary

_known: WeakKeyDictionary[FunctionType, tuple[dict[str, object], dict[str, object]]] = WeakKeyDictionary()
"""Annotations as they were written, and evaluated: tasks that run make nodes of the same functions again and again."""
_signatures: WeakKeyDictionary[FunctionType, tuple[object, object, inspect.Signature]] = WeakKeyDictionary()
"""With the code and the defaults that they are of."""

LAZY: Final = frozenset({Iterable, Iterator, Collection, Sequence})


def hints(func: Callable[..., Any]) -> dict[str, object]:
    """Return the annotations of `func` by parameter name, and "return", with their `Annotated` metadata.

    `typing.get_type_hints` is not used, because one name imported under TYPE_CHECKING makes it raise for all.
    """
    plain = _plain(func)
    written: dict[str, object] = getattr(plain, "__annotations__", {})
    known = _known.get(plain) if isinstance(plain, FunctionType) else None
    if known is not None and known[0] == written:
        return dict(known[1])
    scope = getattr(plain, "__globals__", {})
    found = {name: _evaluated(hint, scope) for name, hint in written.items()}
    if isinstance(plain, FunctionType) and None not in found.values():  # else a name may still be defined
        _known[plain] = dict(written), found
    return {name: hint for name, hint in found.items() if hint is not None}


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


def signature(func: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of `func`; None for the built-in functions that have none."""
    if isinstance(func, FunctionType) and not hasattr(func, "__signature__"):
        known = _signatures.get(func)
        if known is None or known[0] is not func.__code__ or known[1] is not func.__defaults__:
            known = _signatures[func] = func.__code__, func.__defaults__, inspect.signature(func)
        return known[2]
    try:
        return inspect.signature(func)
    except (TypeError, ValueError):
        return None


def _plain(func: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(func, functools.partial):
        func = func.func
    func = inspect.unwrap(func)
    return getattr(func, "__func__", func)


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


def _evaluated(hint: object, scope: dict[str, Any]) -> object:
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, scope)  # the author's own annotation, as typing.get_type_hints evaluates it
    except Exception:
        return None
