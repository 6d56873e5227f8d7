"""Python's containers become sources, and neighbours in a list that go through one fan-out become a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, Final

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional.output import Output, ref_of, title, trace_of
from dagcelery.frontends.functional.refs import Context, Element, Ref, Run, within
from dagcelery.model.source_rules import MOST_LEVELS, depth_fault
from dagcelery.model.sources import DictOf, ListOf, Literal, SetOf, Source, TupleOf
from dagcelery.text import shown

if TYPE_CHECKING:
    from dagcelery.frontends.functional.trace import Trace

NESTED: Final = """\
give the inner loop a DAG of its own:

    @dag
    def inner(x, ys):
        return [f(x, y) for y in ys]

    @dag
    def outer(xs, ys):
        return [inner(x, ys) for x in xs]

which gives a list of lists; to have one list, let a task put them together
"""

PAIRED: Final = """\
whether the two are equally long shows when the DAG runs: pair them in a task, and go through the pairs:

    @task
    def paired(xs: list[Any], ys: list[Any]) -> list[tuple[Any, Any]]:
        return list(zip(xs, ys, strict=True))

    [f(x, y) for x, y in paired(xs, ys)]
"""

FLAT: Final = """\
make a list of lists, [[f(x, y) for y in ...] for x in ...], and let a task put them together:

    @task
    def flat(lists: list[list[Any]]) -> list[Any]:
        return [each for inner in lists for each in inner]
"""


class TwoLists(InvalidDag):
    """A call has elements of two lists; whether each meets each other, or its partner only, the next one shows."""

    elements: tuple[Element, Element]


class _TooDeep(Exception):
    """A value is nested more deeply than a DAG holds any."""


def source_of(value: object, trace: Trace) -> Source:
    """Return the source for a Python value: containers are taken apart where outputs are in them."""
    try:
        return _source(value, trace, MOST_LEVELS)
    except _TooDeep:
        wrong, right = depth_fault(value) or (f"is nested more than {MOST_LEVELS} levels deep", "make it flatter")
        raise InvalidDag(f"a value in {trace.place}", wrong, right) from None


def _source(value: object, trace: Trace, levels: int) -> Source:
    if isinstance(value, Output):
        return _ref(value, trace)
    if levels < 0:
        raise _TooDeep
    if type(value) is list or isinstance(value, Iterator | ValuesView | KeysView | ItemsView):
        return _list(value, trace, levels)
    if type(value) is tuple:
        items = _sources(value, trace, levels)
        return _literal(items, tuple) or TupleOf(items)
    if type(value) in (set, frozenset):
        return _set(value, trace, levels)  # type: ignore[arg-type]
    if type(value) is dict:
        return _dict(value, trace, levels)
    return Literal(trace.kept(value))


def context_in(source: Source, trace: Trace) -> Context:
    """Return the elements that `source` belongs to; one that runs through all of them belongs to none."""
    if isinstance(source, Ref):
        return trace.context(source)
    if isinstance(source, Run):
        return trace.context(source.over)
    contexts = [context_in(part, trace) for part in within(source)]
    is_flat = len(contexts) > 1 and all(isinstance(part, Run) for part in within(source))
    if is_flat and contexts[0] != contexts[1] and _lists(contexts[0]) == _lists(contexts[1]):
        culprit = f"{trace.place} with {trace.title(Ref(contexts[0][-1]))}"
        raise InvalidDag(culprit, "puts the results of a loop within a loop into one list", FLAT)
    return joined(contexts, trace)


def _lists(context: Context) -> list[Ref]:
    return [element.source for element in context]


def joined(contexts: Iterable[Context], trace: Trace) -> Context:
    """Return the context that all `contexts` lie in; two elements of one list, or of two, have none."""
    longest: Context = ()
    for context in contexts:
        shorter, longer = sorted((longest, context), key=len)
        if longer[: len(shorter)] != shorter:
            one, other = next((a, b) for a, b in zip(shorter, longer, strict=False) if a != b)
            raise _mixed(one, other, trace)
        longest = longer
    return longest


def _mixed(one: Element, other: Element, trace: Trace) -> InvalidDag:
    if one.source == other.source:
        return InvalidDag(
            f"{trace.place} with {trace.title(Ref(one))}",
            "needs some of its elements, but not all in their order",
            "pass the whole list of results, and choose, sort or pair them in the task that takes it",
        )
    culprit = f"{trace.place} with {trace.title(Ref(one))} and {trace.title(Ref(other))}"
    error = TwoLists(culprit, "goes through two different lists at once", NESTED)
    error.elements = one, other
    return error


def _ref(value: Output, trace: Trace) -> Ref:
    home = trace_of(value)
    if trace.is_within(home):
        return trace.adopted(value)
    if home is not trace and home.captures is not None:
        raise InvalidDag(
            title(value),
            "is made within a branch of when(...), which may not be taken",
            "return it from the branch: when(...) gives what the branch that is taken returns",
        )
    if home is not trace:
        raise InvalidDag(
            title(value),
            "belongs to another DAG than the one being built",
            "pass it to this one as an argument",
        )
    return ref_of(value)


def _sources(values: Iterable[object], trace: Trace, levels: int) -> tuple[Source, ...]:
    return tuple([_source(value, trace, levels - 1) for value in values])


def _literal(sources: Collection[Source], container: Callable[[Iterable[object]], object]) -> Literal | None:
    """Return a copy of a container that holds no output: it may be changed after the call."""
    known = [source.value for source in sources if isinstance(source, Literal)]
    return Literal(container(known)) if len(known) == len(sources) else None


def _list(values: Any, trace: Trace, levels: int) -> Source:
    if trace.captures is not None:
        values = values if type(values) is list else list(values)
        if trace.captures.is_list_from_around(values, trace):
            # As a whole: it may go through all elements of a list, of which one by one nobody could tell.
            return trace.adopted_list(values)
    items = _sources(_one_by_one(values, trace) if isinstance(values, Iterator) else values, trace, levels)
    return _literal(items, list) or ListOf(_with_runs(items, trace))


def _one_by_one(values: Iterator[Any], trace: Trace) -> Iterator[Any]:
    for value in values:
        trace.later()  # what makes the values may have changed those before
        yield value


def _set(values: Collection[object], trace: Trace, levels: int) -> Source:
    items = _sources(values, trace, levels)
    return _literal(items, type(values)) or SetOf(tuple(sorted(items, key=_place)))


def _place(item: Source) -> str:
    # Sets have no order of their own, but two traces of one body must give equal graphs. Numbers of calls differ
    # from one to the other; which of two is smaller does not.
    return re.sub(r"\d+", lambda number: number[0].zfill(9), _text(item))


def _text(item: Source) -> str:
    try:
        return repr(item)
    except Exception:  # a literal in it cannot show itself, or has too many digits
        return shown(item)


def _dict(values: Mapping[Any, object], trace: Trace, levels: int) -> Source:
    for key in values:
        if isinstance(key, Output):
            raise InvalidDag(title(key), "is a key of a dict, but has no value yet", "build the dict in a task")
    keys = [trace.kept(key) for key in values]
    items = _sources(values.values(), trace, levels)
    known = _literal(items, lambda made: dict(zip(keys, made, strict=True)))
    return known or DictOf(tuple(zip(keys, items, strict=True)))


def _with_runs(items: tuple[Source, ...], trace: Trace) -> tuple[Source, ...]:
    if not trace.probes.tells_elements_apart:
        return items
    contexts = [context_in(item, trace) for item in items]
    result: list[Source] = []
    at = 0
    while at < len(items):
        length = trace.length(contexts[at][-1].source) if contexts[at] else 1
        is_run = length > 1 and _is_run(contexts[at : at + length], length)
        result.append(Run(items[at : at + length], contexts[at][-1].source) if is_run else items[at])
        at += length if is_run else 1
    return tuple(result)


def _is_run(contexts: list[Context], length: int) -> bool:
    outer, source = contexts[0][:-1], contexts[0][-1].source
    return contexts == [(*outer, Element(source, index)) for index in range(length)]
