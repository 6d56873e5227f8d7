"""What a nested DAG returns is put together again at its call: containers with outputs in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dagcelery.frontends.functional.refs import Path
from dagcelery.model.sources import (
    DictOf,
    FromParam,
    ListOf,
    Literal,
    PathStep,
    SetOf,
    Source,
    Splice,
    TupleOf,
)
from dagcelery.objects import copied


def rebuilt(
    returns: Source, arguments: Mapping[str, object], leaf: Callable[[Path], object], path: Path = ()
) -> object:
    """Return the value of shape `returns`: literals and arguments pass through, `leaf` makes the rest."""

    def inner(source: Source, key: object) -> object:
        step: PathStep = ("key", key if isinstance(key, int) else str(key))
        return rebuilt(source, arguments, leaf, (*path, step))

    if isinstance(returns, Literal):
        return copied_literal(returns.value)
    if isinstance(returns, FromParam) and returns.name is not None and returns.name in arguments:
        return arguments[returns.name]
    if isinstance(returns, DictOf):
        return {key: inner(source, key) for key, source in returns.pairs}
    if isinstance(returns, ListOf) and not _has_splice(returns):
        return [inner(item, at) for at, item in enumerate(returns.items) if isinstance(item, Source)]
    if isinstance(returns, TupleOf | SetOf):
        kind = tuple if isinstance(returns, TupleOf) else set
        return kind(inner(item, at) for at, item in enumerate(returns.items))
    return leaf(path)


def copied_literal(value: object) -> object:
    """Return a copy of a literal of a DAG that was built already: the body that gets it may change it."""
    try:
        return copied(value)
    except Exception:  # it cannot travel either, which is said where it should
        return value


def followed(returns: Source, path: Path) -> Source:
    """Return the source that lies at `path` within the shape `returns`."""
    for _, key in path:
        if isinstance(returns, DictOf):
            returns = next(source for name, source in returns.pairs if _same_key(name, key))
        elif isinstance(returns, ListOf | TupleOf | SetOf):
            found = returns.items[int(key)]
            assert isinstance(found, Source)
            returns = found
    return returns


def _has_splice(source: ListOf) -> bool:
    return any(isinstance(item, Splice) for item in source.items)


def _same_key(name: object, key: object) -> bool:
    return name == key if isinstance(name, int) else str(name) == key
