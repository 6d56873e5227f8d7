"""One sample run of a body is made general: calls that are alike but for the element become one call over a list.

That is right only if the number of elements does not matter, so sample runs with lists of other lengths must be
consistent with it: each makes the very calls that the general body says for its lengths.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional.recorded import (
    Call,
    Context,
    Element,
    Ref,
    Result,
    Spliced,
    Unrolled,
    between,
    between_calls,
    context_of,
    everything,
    hint_of,
    leaves,
    mapped,
    within_element,
)
from dagcelery.frontends.functional.trace import Trace
from dagcelery.frontends.functional.value_numbering import Numbering, ValueNumbers
from dagcelery.model.sources import Literal, Source
from dagcelery.text import shown


@dataclass(frozen=True)
class GeneralBody:
    """The calls that are left, numbered anew, and what the body returned; every element is number 0.

    `parameters` are the annotations of the body's parameters.
    """

    calls: tuple[Call, ...]
    returns: Source
    parameters: Mapping[str, object]

    def context(self, ref: Ref) -> Context:
        """Return the elements of iterations that a ref depends on, the outermost first."""
        return context_of(ref, self.calls)

    def within(self, source: Ref) -> Context:
        """Return the context of what is made for each element of `source`."""
        return within_element(Element(source, 0), self.calls)

    def hint(self, ref: Ref) -> object:
        """Return the annotation of what `ref` stands for, None where there is none."""
        return hint_of(ref, self.calls, self.parameters)

    @cached_property
    def read_whole(self) -> set[Ref]:
        """What is given to calls, or returned, as it is."""
        sources = [source for call in self.calls for source in call.arguments.values()]
        return {ref for source in (*sources, self.returns) for ref in leaves(source)}


def generalise(trace: Trace, returns: Source) -> GeneralBody:
    """Return what a sample run says of lists of any length; raise InvalidDag where elements are not treated alike."""
    generaliser = _Generaliser(trace, returns)
    for source in generaliser.sources():
        generaliser.merge(source)
    return generaliser.result()


class _Generaliser:
    def __init__(self, trace: Trace, returns: Source) -> None:
        self.trace = trace
        self.returns = returns
        self.calls = dict(enumerate(trace.calls))
        self.calls_of: dict[Element, list[int]] = defaultdict(list)
        self.unrolled_in: dict[Ref, list[int]] = defaultdict(list)
        for number, call in self.calls.items():
            for element in call.context:
                self.calls_of[element].append(number)
            for source in (*call.arguments.values(), call.after):
                for part in _unrolled(source):
                    self.unrolled_in[part.over].append(number)

    def sources(self) -> Iterator[Ref]:
        """Yield the iterated sources, outer ones first; those within elements that were left out are left out, too."""
        iterated = {element.source: None for element in self.calls_of} | dict.fromkeys(self.unrolled_in)
        iterated |= {part.over: None for part in _unrolled(self.returns)}
        for source in sorted(iterated, key=lambda source: len(self.trace.context(source))):
            if all(element.index == 0 for element in self.trace.context(source)):
                yield source

    def merge(self, source: Ref) -> None:
        """Keep the calls for the first element of `source`, once the others are known to be like them."""
        calls = [self.calls_of.get(Element(source, index), []) for index in range(self.trace.length(source))]
        self._check_numbers(source, calls)
        renamings = [_Renaming(source, dict(zip(each, calls[0], strict=True))) for each in calls]
        # First the lists: a call for one element may take the list of all of them.
        splice = _Splicing(self, source, renamings).splice
        for number in self.unrolled_in.get(source, ()):
            if number in self.calls:
                self.calls[number] = _changed(self.calls[number], splice)
        self.returns = splice(self.returns)
        for each, renaming in zip(calls[1:], renamings[1:], strict=True):
            for number, first in zip(each, calls[0], strict=True):
                difference = between_calls(renaming.call(self.calls.pop(number)), self.calls[first])
                if difference:
                    raise self.differs(source, difference)

    def result(self) -> GeneralBody:
        """Return what is left, numbered anew."""
        for call in self.calls.values():
            for source in (*call.arguments.values(), call.after):
                self._check_is_left(source, f"the call of {call.callee.name!r}")
        self._check_is_left(self.returns, "the returned value")
        renaming = _Renaming(None, {number: new for new, number in enumerate(sorted(self.calls))})
        calls = tuple([renaming.call(self.calls[number]) for number in sorted(self.calls)])
        return GeneralBody(calls, renaming.source(self.returns), self.trace.parameters)

    def differs(self, source: Ref, difference: str) -> InvalidDag:
        """Return the error that says how the elements of `source` are not treated alike."""
        return InvalidDag(
            f"what is done for each element of {self.trace.title(source)}",
            f"differs from one to the next: the body {difference}",
            "do the same for every element: decide in a task, number or pair the elements in the task that "
            "returns the list (enumerate, zip), and call before the loop what does not depend on the element",
        )

    def _check_numbers(self, source: Ref, calls: list[list[int]]) -> None:
        if len({len(each) for each in calls}) == 1:
            return
        names = [[self.calls[number].callee.name for number in each] for each in calls]
        odd = next(name for each in names for name in each if len({other.count(name) for other in names}) > 1)
        raise self.differs(source, f"calls {odd!r} more often")

    def _check_is_left(self, source: Source, place: str) -> None:
        for ref in leaves(source):
            if not _is_left(ref, self.calls):
                raise InvalidDag(
                    f"{place} with {self.trace.title(ref)}",
                    "needs some of the elements of a list, but not all in their order",
                    "pass the whole list, and choose, sort or pair its elements in the task that takes it",
                )


@dataclass(frozen=True)
class _Renaming:
    """Calls and elements by other names: calls by other `numbers`, any element of `merged` as its first."""

    merged: Ref | None
    numbers: Mapping[int, int]

    def call(self, call: Call) -> Call:
        return _changed(call, self.source, tuple(map(self._element, call.context)))

    def source(self, source: Source) -> Source:
        if isinstance(source, Ref):
            return self._ref(source)
        if isinstance(source, Unrolled | Spliced):
            source = replace(source, over=self._ref(source.over))
        return mapped(source, self.source)

    def _ref(self, ref: Ref) -> Ref:
        base = ref.base
        if isinstance(base, Result) and base.call in self.numbers:
            return Ref(Result(self.numbers[base.call], base.leaf), ref.path)
        return Ref(self._element(base), ref.path) if isinstance(base, Element) else ref

    def _element(self, element: Element) -> Element:
        return Element(self._ref(element.source), 0 if element.source == self.merged else element.index)


@dataclass(frozen=True)
class _Splicing:
    """The elements of `over` that stand in a list become one splice, once they are known to be alike."""

    generaliser: _Generaliser
    over: Ref
    renamings: list[_Renaming]

    def splice(self, source: Source) -> Source:
        if not isinstance(source, Unrolled) or source.over != self.over:
            return mapped(source, self.splice)
        # Lists within the items first: one that goes through all elements is the same in each of them.
        first, *others = map(self.splice, source.items)
        for item, renaming in zip(others, self.renamings[1:], strict=True):
            difference = between(renaming.source(item), first)
            if difference:
                raise self.generaliser.differs(self.over, f"puts into a list {difference}")
        return Spliced(first, self.over)


def _changed(call: Call, change: Callable[[Source], Source], context: Context | None = None) -> Call:
    arguments = {name: change(source) for name, source in call.arguments.items()}
    return Call(call.callee, arguments, change(call.after), call.context if context is None else context)


def _unrolled(source: Source) -> list[Unrolled]:
    if isinstance(source, Ref | Literal):
        return []
    return [part for part in everything(source) if isinstance(part, Unrolled)]


def _is_left(ref: Ref, numbers: Collection[int]) -> bool:
    if isinstance(ref.base, Element):
        return ref.base.index == 0 and _is_left(ref.base.source, numbers)
    return not isinstance(ref.base, Result) or ref.base.call in numbers


def check_consistency(body: GeneralBody, trace: Trace, returned: Source) -> None:
    """Raise InvalidDag unless a sample run made the very calls that `body` says for lists of its lengths."""
    actual = trace.numbers.of_calls()
    lengths = {trace.numbers.of(source): length for source, length in trace.lengths.items()}
    general = ValueNumbers(body.calls, trace.numbering, lengths)
    try:
        difference = _difference(body, general.of_calls(), trace, actual)
        if not difference and general.of(body.returns) != trace.numbers.of(returned):
            difference = "returns something else"
            if isinstance(returned, Literal) and isinstance(body.returns, Literal):
                difference = f"returns {shown(returned.value)} instead of {shown(body.returns.value)}"
    except KeyError:
        difference = "does not iterate all lists"
    if difference:
        lengths_text = f"with {trace.samples.text} instead of three"
        raise InvalidDag(
            "the DAG",
            f"depends on how many elements a list has: {lengths_text} the body {difference}",
            "make it the same for any number: len, slices, range and if belong in a task that takes the "
            "list, and values that change from one time to the next are parameters",
        )


def _difference(
    body: GeneralBody, expected: list[tuple[int, int]], trace: Trace, actual: list[tuple[int, int]]
) -> str | None:
    left = Counter([value for _, value in expected])
    left.subtract([value for _, value in actual])
    if not any(left.values()):
        return None
    extra = next((trace.calls[call] for call, value in actual if left[value] < 0), None)
    missing = [body.calls[call] for call, value in expected if left[value] > 0]
    if extra is None:
        return f"calls {missing[0].callee.name!r} less often"
    alike = next((call for call in missing if call.callee.name == extra.callee.name), None)
    if alike is not None:
        return _argument(extra, alike, trace.numbering)
    instead = f" instead of {missing[0].callee.name!r}" if missing else " more often"
    return f"calls {extra.callee.name!r}{instead}"


def _argument(call: Call, other: Call, numbering: Numbering) -> str:
    for name, source in call.arguments.items():
        match source, other.arguments.get(name):
            case Literal(value=one), Literal(value=two) if numbering.literal(one) != numbering.literal(two):
                return f"gives {name!r} of {call.callee.name!r} {shown(one)} instead of {shown(two)}"
    return f"gives {call.callee.name!r} other arguments"
