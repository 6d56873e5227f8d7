"""Sample runs of one body: how many elements iterated lists have in each, and numbers by which the runs are compared.

Two values that a body makes alike have one number, in whichever trace.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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

# How many loops a list lies in, and its number among those that are iterated there.
Position: TypeAlias = tuple[int, int]

# Where more lists are iterated in one place, every sixth of them has the same length.
_MOST_ALONE: Final = 6


@dataclass(frozen=True, slots=True)
class SampleLengths:
    """How many elements iterated lists have while a body runs; `text` says so in an error.

    All have `length`, but for the one at the position `odd`, if that is given: it has `odd_length`.
    """

    text: str
    length: int
    odd: Position | None = None
    odd_length: int = 0

    def of(self, position: Position) -> int:
        """Return the length of the list at `position`."""
        return self.odd_length if _grouped(position) == self.odd else self.length


THREE: Final = SampleLengths("three elements", 3)


def other_samples(positions: Collection[Position]) -> Iterator[SampleLengths]:
    """Yield the lengths of further sample runs of a body that iterated lists at these positions."""
    if not positions:
        return
    yield SampleLengths("two elements", 2)
    yield SampleLengths("one element", 1)
    yield SampleLengths("no element", 0)
    groups = sorted({_grouped(position) for position in positions})
    for odd in groups:
        yield SampleLengths("five elements in one of its lists, two in others,", 2, odd, 5)
        if len(groups) > 1:
            yield SampleLengths("no element in one of its lists, two in others,", 2, odd, 0)


def _grouped(position: Position) -> Position:
    depth, number = position
    return depth, number % _MOST_ALONE


S = TypeVar("S")

# Which element is meant by each that stands for all of its list.
Places: TypeAlias = Mapping[Element, int]

_NOWHERE: Final[Places] = {}

_ONCE: Final[Iterable[Places]] = (_NOWHERE,)

_CONTAINERS: Final[Mapping[type, str]] = {ListOf: "list", TupleOf: "tuple", list: "list", tuple: "tuple"}


class ValueTable(dict[Hashable, int]):
    """Numbers by what they stand for: words, and numbers of parts. All traces of one body share it.

    So they do with `copies`, the values as they were when a call was recorded; these are known by their ids.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copies = Copies(Output)
        self._objects: dict[int, tuple[object, int]] = {}
        self._others: list[tuple[object, int]] = []
        self._same_callees: dict[tuple[int, ...], tuple[Callee, int]] = {}
        self._callees_by_id: dict[int, tuple[Callee, int]] = {}
        self._callees: list[tuple[Callee, int]] = []

    def __missing__(self, key: Hashable) -> int:
        number = self[key] = len(self)
        return number

    def literal(self, value: object) -> int:
        """Return the number of a value that is known; that of a container is made of its items'."""
        kind = type(value)
        if isinstance(value, list | tuple) and kind in _CONTAINERS:
            return self[_CONTAINERS[kind], tuple(map(self.literal, value))]
        if kind is dict and isinstance(value, dict):
            return self["dict", tuple([(self.literal(key), self.literal(item)) for key, item in value.items()])]
        if isinstance(value, set | frozenset) and kind in (set, frozenset):
            return self["set", frozenset(map(self.literal, value))]
        if kind in ATOMS:
            return self[kind, hex(value) if type(value) is int else repr(value)]
        return self._object(value)

    def callee(self, callee: Callee) -> int:
        """Return the number of what is called, with its options."""
        known = self._callees_by_id.get(id(callee))
        if known is None:
            parts = tuple(map(id, vars(callee).values()))
            if parts not in self._same_callees:
                self._same_callees[parts] = callee, self._number_like(callee, self._callees, is_same_callee)
            known = self._callees_by_id[id(callee)] = callee, self._same_callees[parts][1]
        return known[1]

    def _object(self, value: object) -> int:
        if id(value) in self._objects:
            return self._objects[id(value)][1]
        key = identity(value)
        if key is None:
            return self._number_like(value, self._others, same)
        self._objects[id(value)] = value, self["object", type(value).__qualname__, key]
        return self._objects[id(value)][1]

    def _number_like(self, value: S, numbered: list[tuple[S, int]], is_same: Callable[[S, S], bool]) -> int:
        for other, number in numbered:
            if is_same(other, value):
                return number
        numbered.append((value, self["other", len(self)]))
        return numbered[-1][1]


class ValueNumbers:
    """The numbers of what one trace made; or of what a generalised body would make for lists of these `lengths`.

    Those are by the numbers of the lists; KeyError where one is missing. With `is_first` each element of a list counts
    as its first one, so that what is made alike for all of them has one number.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        table: ValueTable,
        lengths: Mapping[int, int] | None = None,
        *,
        is_first: bool = False,
    ) -> None:
        self._calls = calls
        self._table = table
        self._lengths = lengths
        self._is_first = is_first
        self._of_calls: dict[tuple[int | None, ...], int] = {}
        self._numbered = 0

    def of_call(self, index: int, places: Places = _NOWHERE) -> int:
        """Return the number of a call for the elements at `places`."""
        call = self._calls[index]
        key = index, *map(places.get, call.context)
        number = self._of_calls.get(key)
        if number is None:
            arguments = tuple([(name, self.of(source, places)) for name, source in call.arguments.items()])
            callee, after = self._table.callee(call.callee), self.of(call.after, places)
            number = self._of_calls[key] = self._table["call", callee, arguments, after]
        return number

    def of_calls(self) -> list[tuple[int, int]]:
        """Return the index and the number of every call, those of a loop once for each element."""
        return [
            (index, self.of_call(index, places))
            for index, call in enumerate(self._calls)
            for places in (self._instances(call.context) if call.context and self._lengths is not None else _ONCE)
        ]

    def now(self, source: Source) -> int:
        """Return the number of a source while calls are still being made."""
        # In their order, since what is made of a long chain of others' results must not be numbered by recursion.
        for index in range(self._numbered, len(self._calls)):
            self.of_call(index)
        self._numbered = len(self._calls)
        return self.of(source)

    def of(self, source: Source, places: Places = _NOWHERE) -> int:
        """Return the number of a source, made of calls that are numbered."""
        table = self._table
        if isinstance(source, Ref):
            return self._of_ref(source, places)
        if isinstance(source, Literal):
            return table.literal(source.value)
        if isinstance(source, ListOf | TupleOf):
            return table[_CONTAINERS[type(source)], tuple(self._of_items(source.items, places))]
        if isinstance(source, SetOf):
            return table["set", frozenset(self._of_items(source.items, places))]
        assert isinstance(source, DictOf)
        return table["dict", tuple([(table.literal(key), self.of(each, places)) for key, each in source.pairs])]

    def _of_items(self, items: Iterable[object], places: Places) -> Iterator[int]:
        for item in items:
            if isinstance(item, Unrolled):
                yield from self._of_items(item.items, places)
            elif isinstance(item, Spliced):
                for longer in self._each(item.over, places):
                    yield self.of(item.template, longer)
            elif isinstance(item, Source):
                yield self.of(item, places)

    def _of_ref(self, ref: Ref, places: Places) -> int:
        base, table = ref.base, self._table
        if isinstance(base, Parameter):
            number = table["parameter", base.name]
        elif isinstance(base, Element):
            index = 0 if self._is_first else places.get(base, base.index)
            number = table["element", self._of_ref(base.source, places), index]
        else:
            number = table["result", self.of_call(base.call, places), base.leaf]
        return table["part", number, ref.path] if ref.path else number

    def _instances(self, context: Context) -> Iterable[Places]:
        outer = self._instances(context[:-1]) if len(context) > 1 else _ONCE
        return [longer for places in outer for longer in self._each(context[-1].source, places)]

    def _each(self, source: Ref, places: Places) -> list[Places]:
        assert self._lengths is not None
        return [{**places, Element(source, 0): index} for index in range(self._lengths[self._of_ref(source, places)])]
