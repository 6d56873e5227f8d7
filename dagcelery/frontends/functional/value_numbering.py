"""Numbers for values that a body makes: two that are made alike have one *term*, in whichever trace."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar

from dagcelery.frontends.functional.outputs import Output
from dagcelery.frontends.functional.recorded import (
    Call,
    Callee,
    Context,
    Element,
    Parameter,
    Ref,
    Spliced,
    Unrolled,
    is_same_callee,
)
from dagcelery.model.sources import DictOf, ListOf, Literal, SetOf, Source, TupleOf
from dagcelery.objects import ATOMS, Copies, identity, same

S = TypeVar("S")


# Which element is meant by each that stands for all of its list.
Places: TypeAlias = Mapping[Element, int]


class _First(Mapping[Element, int]):
    def __getitem__(self, element: Element) -> int:
        return 0

    def __contains__(self, element: object) -> bool:
        return True

    def __iter__(self) -> Iterator[Element]:
        return iter(())

    def __len__(self) -> int:
        return 0


# The places of the first elements of all lists.
FIRST: Final[Places] = _First()


_NOWHERE: Final[Places] = {}


_CONTAINERS: Final[Mapping[type, str]] = {ListOf: "list", TupleOf: "tuple", list: "list", tuple: "tuple"}


class Table:
    """Numbers for terms, and copies of what is recorded; traces that are to be compared share them."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self.copies = Copies(Output)
        self._objects: dict[int, tuple[object, int]] = {}
        self._callees: list[tuple[Callee, int]] = []
        self._unidentified: list[tuple[object, int]] = []

    def number(self, *term: Hashable) -> int:
        """Return the number of a term that is made of others' numbers and of words."""
        return self._numbers.setdefault(term, len(self._numbers))

    def literal(self, value: object) -> int:
        """Return the number of a value that is known; a container is what its items are."""
        kind = type(value)
        if isinstance(value, list | tuple) and kind in _CONTAINERS:
            return self.number(_CONTAINERS[kind], tuple(map(self.literal, value)))
        if kind is dict and isinstance(value, dict):
            pairs = tuple((self.literal(key), self.literal(item)) for key, item in value.items())
            return self.number("dict", pairs)
        if isinstance(value, set | frozenset) and kind in (set, frozenset):
            return self.number("set", frozenset(map(self.literal, value)))
        if kind in ATOMS:
            return self.number(kind.__name__, hex(value) if type(value) is int else repr(value))
        return self._object(value)

    def callee(self, callee: Callee) -> int:
        """Return the number of what is called, with its options."""
        return _found(self._callees, callee, is_same_callee, lambda: self.number("callee", len(self._callees)))

    def _object(self, value: object) -> int:
        known = self._objects.get(id(value))
        if known is not None:
            return known[1]
        found = identity(value)
        if found is not None:
            # Recorded values do not change.
            self._objects[id(value)] = value, self.number("object", type(value).__qualname__, found)
            return self._objects[id(value)][1]
        return _found(self._unidentified, value, same, lambda: self.number("unidentified", len(self._unidentified)))


def _found(known: list[tuple[S, int]], value: S, is_same: Callable[[S, S], bool], number: Callable[[], int]) -> int:
    """Return the number of one of those that are known, to which `value` is added if it is like none of them."""
    for other, found in known:
        if is_same(other, value):
            return found
    known.append((value, number()))
    return known[-1][1]


class Terms:
    """The terms of one trace: of its calls as they were made, or of those it would make, folded as they are.

    For these, `lengths` are the numbers of elements that lists have, by their terms; KeyError where one is missing.
    """

    def __init__(self, calls: Sequence[Call], table: Table, lengths: Mapping[int, int] | None = None) -> None:
        self._calls = calls
        self._table = table
        self._lengths = lengths
        self._made: dict[tuple[int, tuple[int, ...]], int] = {}
        self._upto: dict[int, int] = {}

    def call(self, number: int, places: Places = _NOWHERE) -> int:
        """Return the term of a call for the elements at `places`."""
        call = self._calls[number]
        key = number, tuple(places[element] for element in call.context if element in places)
        if key not in self._made:
            arguments = tuple((name, self.of(given, places)) for name, given in call.arguments.items())
            callee, after = self._table.callee(call.callee), self.of(call.after, places)
            self._made[key] = self._table.number("call", callee, arguments, after)
        return self._made[key]

    def calls(self) -> Iterator[tuple[int, int]]:
        """Yield the number and the term of every call, those of a loop once for each element."""
        for number, call in enumerate(self._calls):
            for places in self._instances(call.context):
                yield number, self.call(number, places)

    def now(self, source: Source, places: Places = _NOWHERE) -> int:
        """Return the term of a source while calls are still being made."""
        # In their order, since a term that is made of a long chain of others' must not be made by recursion.
        for number in range(self._upto.get(id(places), 0), len(self._calls)):
            self.call(number, places)
        self._upto[id(places)] = len(self._calls)
        return self.of(source, places)

    def of(self, source: Source, places: Places = _NOWHERE) -> int:
        """Return the term of a source, made of calls whose terms are known."""
        number = self._table.number
        if isinstance(source, Ref):
            return self._ref(source, places)
        if isinstance(source, Literal):
            return self._table.literal(source.value)
        if isinstance(source, ListOf | TupleOf):
            return number(_CONTAINERS[type(source)], tuple(self._items(source.items, places)))
        if isinstance(source, SetOf):
            return number("set", frozenset(self._items(source.items, places)))
        assert isinstance(source, DictOf)
        pairs = ((self._table.literal(key), self.of(value, places)) for key, value in source.pairs)
        return number("dict", tuple(pairs))

    def _items(self, items: Sequence[object], places: Places) -> Iterator[int]:
        for item in items:
            if isinstance(item, Unrolled):
                yield from self._items(item.items, places)
            elif isinstance(item, Spliced):
                for longer in self._each(item.over, places):
                    yield self.of(item.template, longer)
            elif isinstance(item, Source):
                yield self.of(item, places)

    def _ref(self, ref: Ref, places: Places) -> int:
        base = ref.base
        if isinstance(base, Parameter):
            made = self._table.number("parameter", base.name)
        elif isinstance(base, Element):
            index = places.get(base, base.index)
            made = self._table.number("element", self._ref(base.source, places), index)
        else:
            made = self._table.number("result", self.call(base.call, places), base.leaf)
        return self._table.number("part", made, ref.path) if ref.path else made

    def _instances(self, context: Context) -> Iterator[Places]:
        if self._lengths is None or not context:
            yield _NOWHERE
            return
        for places in self._instances(context[:-1]):
            yield from self._each(context[-1].source, places)

    def _each(self, source: Ref, places: Places) -> Iterator[Places]:
        assert self._lengths is not None
        for index in range(self._lengths[self._ref(source, places)]):
            yield {**places, Element(source, 0): index}
