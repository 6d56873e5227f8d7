"""A body is a DAG only if it says the same for lists of all lengths, those with one element and none among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional import difference
from dagcelery.frontends.functional.calls import context_of
from dagcelery.frontends.functional.fold import Folded, renumbered, with_changed
from dagcelery.frontends.functional.probes import Probes
from dagcelery.frontends.functional.refs import Spliced, mapped
from dagcelery.model.sources import DictOf, ListOf, Literal, SetOf, Source, TupleOf


def check_agreement(three: Folded, few: Folded, probes: Probes) -> None:
    """Raise InvalidDag unless `few`, traced with `probes`, means the same as `three`, traced with three elements."""
    expected = _expected(three, probes)
    found = next(
        (d for d in map(difference.between_calls, few.calls, expected.calls) if d),
        "calls more or fewer nodes" if len(few.calls) != len(expected.calls) else None,
    ) or _returned(few.returns, expected.returns)
    if found:
        raise InvalidDag(
            "the DAG",
            f"depends on how many elements a list has: with {probes.told} instead of three the body {found}",
            "make it the same for any number: len, slices, range and if belong in a task that takes the "
            "list, and values that change from one time to the next are parameters",
        )


def _returned(few: Source, many: Source) -> str | None:
    found = difference.between(few, many)
    return f"returns {found}" if found else None


def _expected(three: Folded, probes: Probes) -> Folded:
    if not probes.outer:
        return _without_loops(three, 0)
    if not probes.inner:
        return _without_loops(three, 1)
    return three if probes.tells_elements_apart else _with_single_elements(three)


def _with_single_elements(many: Folded) -> Folded:
    return Folded(tuple(with_changed(call, _single) for call in many.calls), _single(many.returns))


def _single(source: Source) -> Source:
    return _single(source.template) if isinstance(source, Spliced) else mapped(source, _single)


def _without_loops(many: Folded, depth: int) -> Folded:
    """Return what is left of `many` where lists within `depth` loops, and those within more, are empty."""

    def emptied(source: Source) -> Source:
        if isinstance(source, ListOf):
            source = ListOf(tuple(item for item in source.items if not is_gone(item)))
        return _known(mapped(source, emptied))

    def is_gone(item: object) -> bool:
        return isinstance(item, Spliced) and len(context_of(item.over, many.calls)) >= depth

    calls = {n: with_changed(c, emptied) for n, c in enumerate(many.calls) if len(c.context) <= depth}
    return renumbered(calls, emptied(many.returns))


def _known(source: Source) -> Source:
    # Where nothing is left but literals, it is one, as it is where the body runs.
    if isinstance(source, ListOf):
        return _literal(source, source.items, list)
    if isinstance(source, TupleOf | SetOf):
        return _literal(source, source.items, tuple if isinstance(source, TupleOf) else set)
    if isinstance(source, DictOf):
        keys = [key for key, _ in source.pairs]
        values = [value for _, value in source.pairs]
        return _literal(source, values, lambda made: dict(zip(keys, made, strict=True)))
    return source


def _literal(source: Source, items: Iterable[object], make: Callable[[list[object]], object]) -> Source:
    items = list(items)
    known = [item.value for item in items if isinstance(item, Literal)]
    return Literal(make(known)) if len(known) == len(items) else source
