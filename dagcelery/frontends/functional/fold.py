"""Folding a trace keeps, of calls that are alike but for the element, the one that stands for all of them.

A body is traced with three, two and one elements for whatever it iterates. It is a DAG only if all three say
the same: then the number of elements did not matter, and may be known as late as the DAG runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional import difference
from dagcelery.frontends.functional.calls import Call
from dagcelery.frontends.functional.refs import (
    Context,
    Element,
    Ref,
    Result,
    Run,
    Spliced,
    everything,
    leaves,
    mapped,
)
from dagcelery.frontends.functional.trace import Trace
from dagcelery.model.sources import Source


@dataclass(frozen=True)
class Folded:
    """The calls that are left, numbered anew, and what the body returned; every element is number 0."""

    calls: tuple[Call, ...]
    returns: Source


def folded(trace: Trace, returns: Source) -> Folded:
    """Fold `trace`, outer lists before inner ones; raise InvalidDag where elements are not treated alike."""
    fold = _Fold(trace, returns)
    for source in fold.sources():
        fold.fold(source)
    return fold.result()


class _Fold:
    def __init__(self, trace: Trace, returns: Source) -> None:
        self.trace = trace
        self.returns = returns
        self.calls = dict(enumerate(trace.calls))
        self.calls_of: dict[Element, list[int]] = defaultdict(list)
        for number, call in self.calls.items():
            for element in call.context:
                self.calls_of[element].append(number)
        self.runs_in: dict[Ref, list[int]] = defaultdict(list)
        for number, call in self.calls.items():
            for source in (*call.arguments.values(), call.after):
                for run in _runs(source):
                    self.runs_in[run.over].append(number)

    def sources(self) -> Iterator[Ref]:
        """Yield the iterated sources, outer ones first; those within dropped elements are left out."""
        found = {element.source: None for element in self.calls_of} | dict.fromkeys(self.runs_in)
        found |= {run.over: None for run in _runs(self.returns)}
        for source in sorted(found, key=lambda source: len(self.trace.context(source))):
            if all(element.index == 0 for element in self.trace.context(source)):
                yield source

    def fold(self, source: Ref) -> None:
        """Keep the calls for the first element of `source`, once the others are known to be like them."""
        alike = [self.calls_of.get(Element(source, index), []) for index in range(self.trace.length(source))]
        first = alike[0]
        self._check_numbers(source, alike)
        renamings = [_Renaming(source, dict(zip(each, first, strict=True))) for each in alike]
        # First the lists: a call for one element may take the list of all of them.
        splice = _Splicing(self, source, renamings).splice
        for number in self.runs_in.get(source, ()):
            if number in self.calls:
                self.calls[number] = _changed(self.calls[number], splice)
        self.returns = splice(self.returns)
        for each, renaming in zip(alike[1:], renamings[1:], strict=True):
            for number, model in zip(each, first, strict=True):
                self._check_alike(renaming.call(self.calls.pop(number)), self.calls[model], source)

    def result(self) -> Folded:
        """Return what is left, numbered anew."""
        for call in self.calls.values():
            for source in (*call.arguments.values(), call.after):
                self._check_kept(source, self.calls, f"the call of {call.callee.name!r}")
        self._check_kept(self.returns, self.calls, "the returned value")
        numbering = _Renaming(None, {number: new for new, number in enumerate(sorted(self.calls))})
        calls = tuple(numbering.call(self.calls[number]) for number in sorted(self.calls))
        return Folded(calls, numbering.source_(self.returns))

    def _check_alike(self, call: Call, model: Call, source: Ref) -> None:
        found = difference.between_calls(call, model)
        if found:
            raise self._differs(source, found)

    def _check_numbers(self, source: Ref, alike: list[list[int]]) -> None:
        if len({len(each) for each in alike}) == 1:
            return
        names = [[self.calls[number].callee.name for number in each] for each in alike]
        odd = next(n for each in names for n in each if len({other.count(n) for other in names}) > 1)
        raise self._differs(source, f"calls {odd!r} more often")

    def _check_kept(self, source: Source, kept: Collection[int], place: str) -> None:
        for ref in leaves(source):
            if not _is_kept(ref, kept):
                raise InvalidDag(
                    f"{place} with {self.trace.title(ref)}",
                    "needs some of the elements of a list, but not all in their order",
                    "pass the whole list, and choose, sort or pair its elements in the task that takes it",
                )

    def _differs(self, source: Ref, found: str) -> InvalidDag:
        return InvalidDag(
            f"what is done for each element of {self.trace.title(source)}",
            f"differs from one to the next: the body {found}",
            "do the same for every element: decide in a task, number or pair the elements in the task that "
            "returns the list (enumerate, zip), and call before the loop what does not depend on the element",
        )


@dataclass(frozen=True)
class _Renaming:
    """Calls and elements by other names: `calls` by other numbers, any element of `source` as its first."""

    of: Ref | None
    calls: Mapping[int, int]

    def call(self, call: Call) -> Call:
        return replace(_changed(call, self.source_), context=self._context(call.context))

    def source_(self, source: Source) -> Source:
        if isinstance(source, Ref):
            return self.ref(source)
        if isinstance(source, Run | Spliced):
            source = replace(source, over=self.ref(source.over))
        return mapped(source, self.source_)

    def ref(self, ref: Ref) -> Ref:
        base = ref.base
        if isinstance(base, Result) and base.call in self.calls:
            return Ref(Result(self.calls[base.call], base.leaf), ref.path)
        return Ref(self._element(base), ref.path) if isinstance(base, Element) else ref

    def _element(self, element: Element) -> Element:
        return Element(self.ref(element.source), 0 if element.source == self.of else element.index)

    def _context(self, context: Context) -> Context:
        return tuple(map(self._element, context))


@dataclass(frozen=True)
class _Splicing:
    """Runs over `source` become splices, once their items are known to be alike."""

    fold: _Fold
    over: Ref
    renamings: list[_Renaming]

    def splice(self, source: Source) -> Source:
        if not isinstance(source, Run) or source.over != self.over:
            return mapped(source, self.splice)
        # Lists within the items first: one that goes through all elements is the same in each of them.
        model, *others = map(self.splice, source.items)
        for item, renaming in zip(others, self.renamings[1:], strict=True):
            found = difference.between(renaming.source_(item), model)
            if found:
                raise self.fold._differs(self.over, f"puts into a list {found}")
        return Spliced(model, self.over)


def _changed(call: Call, change: Callable[[Source], Source]) -> Call:
    arguments = {name: change(source) for name, source in call.arguments.items()}
    return replace(call, arguments=arguments, after=change(call.after))


def _runs(source: Source) -> Iterator[Run]:
    for part in everything(source):
        if isinstance(part, Run):
            yield part


def _is_kept(ref: Ref, kept: Collection[int]) -> bool:
    if isinstance(ref.base, Element):
        return ref.base.index == 0 and _is_kept(ref.base.source, kept)
    return not isinstance(ref.base, Result) or ref.base.call in kept
