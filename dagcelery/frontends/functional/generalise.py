"""One sample run of a body is made general: of what is called for each element of a list, the first stands for all.

That is right only if all elements are treated alike, and if their number does not matter. So sample runs with lists of
other lengths must be consistent with the general body: each makes the very calls that it says for these lengths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

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
    hint_of,
    leaves,
    mapped,
    within_element,
)
from dagcelery.frontends.functional.trace import Trace
from dagcelery.frontends.functional.value_numbering import ValueNumbers, ValueTable
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
        """The values that are given to calls, or returned, as they are."""
        sources = [source for call in self.calls for source in call.arguments.values()]
        return {ref for source in (*sources, self.returns) for ref in leaves(source)}


def generalise(trace: Trace, returned: Source) -> GeneralBody:
    """Return what a sample run says of lists of any length; raise InvalidDag where elements are not treated alike."""
    generaliser = _Generaliser(trace)
    calls: list[Call] = []
    for number, call in enumerate(trace.calls):
        first = generaliser.first_of[number]
        general = generaliser.call(call, is_checked=first == number)
        if first == number:
            calls.append(general)
        elif difference := between_calls(general, calls[generaliser.numbers[first]]):
            raise generaliser.differs(call.context, difference)
    generaliser.check_numbers()
    return GeneralBody(tuple(calls), generaliser.source(returned, "the returned value"), trace.parameters)


class _Generaliser:
    """Finds the call for first elements that is like each call, `first_of` it; `numbers` are the new ones of those."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.first_of: list[int] = []
        self.numbers: dict[int, int] = {}
        at_place: dict[tuple[Context, int], int] = {}
        calls_in: Counter[Context] = Counter()
        for number, call in enumerate(trace.calls):
            place = tuple(map(self._first, call.context)), calls_in[call.context]
            calls_in[call.context] += 1
            first = at_place.setdefault(place, number)
            self.first_of.append(first)
            if first == number:
                self.numbers[number] = len(self.numbers)
                if not all(map(self._is_first, call.context)):
                    raise self.differs(call.context, f"calls {call.callee.name!r} more often")

    def call(self, call: Call, *, is_checked: bool) -> Call:
        """Return a call with its sources and its context by their new numbers."""
        place = f"the call of {call.callee.name!r}" if is_checked else ""
        arguments = {name: self.source(source, place) for name, source in call.arguments.items()}
        context = tuple([Element(self._ref(element.source), 0) for element in call.context])
        return Call(call.callee, arguments, self.source(call.after, place), context)

    def source(self, source: Source, place: str) -> Source:
        """Return a source by its new numbers, where all elements of a list that stand in another are one `Spliced`.

        If there is a `place` it is an error that the source is of other elements than the first.
        """
        if isinstance(source, Ref):
            if place and not self._is_left(source):
                raise InvalidDag(
                    f"{place} with {self.trace.title(source)}",
                    "needs some of the elements of a list, but not all in their order",
                    "pass the whole list, and choose, sort or pair its elements in the task that takes it",
                )
            return self._ref(source)
        if isinstance(source, Unrolled):
            first, *others = [self.source(item, place if at == 0 else "") for at, item in enumerate(source.items)]
            for other in others:
                if difference := between(other, first):
                    raise self.differs((Element(source.over, 1),), f"puts into a list {difference}")
            return Spliced(first, self._ref(source.over))
        return mapped(source, lambda part: self.source(part, place))

    def check_numbers(self) -> None:
        """Raise InvalidDag if a call is not made for all elements."""
        instances = Counter(self.first_of)
        for number in self.numbers:
            call = self.trace.calls[number]
            if instances[number] != prod([self.trace.length(element.source) for element in call.context]):
                raise self.differs(call.context, f"calls {call.callee.name!r} more often")

    def differs(self, context: Context, difference: str) -> InvalidDag:
        """Return the error that says how the elements of a list in `context` are not treated alike."""
        source = next((element.source for element in context if element.index), context[-1].source)
        return InvalidDag(
            f"what is done for each element of {self.trace.title(source)}",
            f"differs from one to the next: the body {difference}",
            "do the same for every element: decide in a task, number or pair the elements in the task that "
            "returns the list (enumerate, zip), and call before the loop what does not depend on the element",
        )

    def _first(self, element: Element) -> Element:
        source, base = element.source, element.source.base
        if isinstance(base, Result):
            source = Ref(Result(self.first_of[base.call], base.leaf), source.path)
        elif isinstance(base, Element):
            source = Ref(self._first(base), source.path)
        return Element(source, 0)

    def _ref(self, ref: Ref) -> Ref:
        base = ref.base
        if isinstance(base, Result):
            return Ref(Result(self.numbers[self.first_of[base.call]], base.leaf), ref.path)
        return Ref(Element(self._ref(base.source), 0), ref.path) if isinstance(base, Element) else ref

    def _is_left(self, ref: Ref) -> bool:
        if isinstance(ref.base, Element):
            return self._is_first(ref.base)
        return not isinstance(ref.base, Result) or ref.base.call in self.numbers

    def _is_first(self, element: Element) -> bool:
        return element.index == 0 and self._is_left(element.source)


def check_consistency(body: GeneralBody, trace: Trace, returned: Source) -> None:
    """Raise InvalidDag unless a sample run made the very calls that `body` says for lists of its lengths."""
    actual = trace.numbers.of_calls()
    lengths = {trace.numbers.of(source): length for source, length in trace.lengths.items()}
    general = ValueNumbers(body.calls, trace.table, lengths)
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
    extra = [trace.calls[call] for call, value in actual if left[value] < 0]
    missing = [body.calls[call] for call, value in expected if left[value] > 0]
    if not extra:
        return f"calls {missing[0].callee.name!r} less often" if missing else None
    name = extra[0].callee.name
    alike = next((call for call in missing if call.callee.name == name), None)
    if alike is not None:
        return _difference_of_call(extra[0], alike, trace.table)
    return f"calls {name!r}" + (f" instead of {missing[0].callee.name!r}" if missing else " more often")


def _difference_of_call(call: Call, other: Call, table: ValueTable) -> str:
    if table.callee(call.callee) != table.callee(other.callee):
        return f"calls {call.callee.name!r} with other options"
    for name, source in call.arguments.items():
        match source, other.arguments.get(name):
            case Literal(value=one), Literal(value=two) if table.literal(one) != table.literal(two):
                return f"gives {name!r} of {call.callee.name!r} {shown(one)} instead of {shown(two)}"
    return f"gives {call.callee.name!r} other arguments"
