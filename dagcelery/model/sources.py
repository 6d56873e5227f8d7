"""A source says where the value of an input comes from; it holds no value that a run makes.

Two sources read something: `FromParam` a parameter of the DAG around the node, `FromNodeOutput` an output
of a sibling node. `Literal`, `ListOf`, `TupleOf`, `SetOf` and `DictOf` put values together around them.
`Part` takes a piece out of a value that arrives whole. `Choice` is one of two, as a condition says.

Fan-outs are written with two more. `Each(source)` is the element that belongs to one item of a fan-out,
and makes the node that has it such a fan-out. Of a node that is a fan-out itself it is that node's result
for the same item, so that no piece waits for the other items. `Splice(template, over)` stands only in a
`ListOf` and puts one element per item of `over` there, each made from `template`. Read plainly, without
`Each`, a fan-out's output is the ordered list of its items' results.

What holds for one source by itself, whatever it lies in, is checked here: how it is made, and how deeply its value is
nested. What holds between nodes is checked by their graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from typing import Literal as OneOf

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.model.serializers import Serializer, check_serializer
from dagcelery.objects import same
from dagcelery.text import constructor_repr, listed, shown


class Empty:
    """The type of `EMPTY`, of which there is one, and which says "no default": None may be one."""

    _only: Empty | None = None

    def __new__(cls) -> Empty:
        if cls._only is None:
            cls._only = object.__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "EMPTY"

    def __reduce__(self) -> str:
        return "EMPTY"


EMPTY: Final = Empty()


@dataclass(frozen=True, slots=True)
class Open:
    """The value of a literal that is filled in once the DAG was planned: the one with this number."""

    number: int


PathStep: TypeAlias = "tuple[OneOf['key', 'property'], str | int]"

Path: TypeAlias = "tuple[PathStep, ...]"
"""Where something lies within a value."""


class Source:
    """The base of all sources."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FromParam(Source):
    """A parameter of the DAG around the node; without a name it is called like the input."""

    name: str | None = None
    default_value: object = EMPTY
    serializer: Serializer | None = None

    __repr__ = constructor_repr

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FromParam) or (self.name, self.serializer) != (other.name, other.serializer):
            return False
        return same(self.default_value, other.default_value)

    def __hash__(self) -> int:
        return hash((FromParam, self.name))


@dataclass(frozen=True, slots=True, repr=False)
class FromNodeOutput(Source):
    """An output of a sibling node."""

    node: str
    output: str
    serializer: Serializer | None = None

    __repr__ = constructor_repr


@dataclass(frozen=True, slots=True, eq=False)
class Literal(Source):
    """A value that was known when the DAG was written; equal to one that is the same value, 1 not to True."""

    value: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and same(self.value, other.value)

    def __hash__(self) -> int:
        return hash(Literal)


@dataclass(frozen=True, slots=True)
class Each(Source):
    """The element of `source` that belongs to this item of the fan-out."""

    source: FromParam | FromNodeOutput


@dataclass(frozen=True, slots=True)
class Part(Source):
    """What lies at `steps` within a value that arrives whole: ``row["name"]``, ``pair[0]``, ``config.seed``.

    An output of a task needs none: its path belongs to the output, so that only the part travels.
    """

    source: FromParam | FromNodeOutput | Each
    steps: tuple[PathStep, ...]


@dataclass(frozen=True, slots=True)
class Splice:
    """In a `ListOf`: one element per item of `over`; the `Each` in `template` belong to that item."""

    template: Source
    over: FromParam | FromNodeOutput


@dataclass(frozen=True, slots=True)
class ListOf(Source):
    """A list made of `items`."""

    items: tuple[Source | Splice, ...]


@dataclass(frozen=True, slots=True)
class TupleOf(Source):
    """A tuple made of `items`."""

    items: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class SetOf(Source):
    """A set made of `items`."""

    items: tuple[Source, ...]


@dataclass(frozen=True, slots=True, eq=False)
class DictOf(Source):
    """A dict made of `pairs` of a literal key and the source of its value."""

    pairs: tuple[tuple[object, Source], ...]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DictOf) or len(self.pairs) != len(other.pairs):
            return False
        pairs = zip(self.pairs, other.pairs, strict=True)
        return all(same(key, other_key) and value == other_value for (key, value), (other_key, other_value) in pairs)

    def __hash__(self) -> int:
        return hash((DictOf, len(self.pairs)))


@dataclass(frozen=True, slots=True)
class Choice(Source):
    """`then` where the value of `condition` is true, else `otherwise`; outputs of the branches are read in them."""

    condition: FromParam | FromNodeOutput
    then: Source
    otherwise: Source


Readable: TypeAlias = FromParam | FromNodeOutput

SOURCES: Final = (FromParam, FromNodeOutput, Literal, ListOf, TupleOf, SetOf, DictOf, Each, Part, Choice)


def parts(source: Source | Splice) -> Iterator[Source | Splice]:
    """Yield what `source` is directly made of."""
    if isinstance(source, ListOf | TupleOf | SetOf):
        yield from source.items
    elif isinstance(source, DictOf):
        for _, value in source.pairs:
            yield value
    elif isinstance(source, Each | Part):
        yield source.source
    elif isinstance(source, Choice):
        yield from (source.condition, source.then, source.otherwise)
    elif isinstance(source, Splice):
        yield source.template
        yield source.over


def walk(source: Source | Splice) -> Iterator[Source | Splice]:
    """Yield `source` and everything within it, outer before inner."""
    yield source
    for part in parts(source):
        yield from walk(part)


def reads(source: Source | Splice) -> Iterator[Readable]:
    """Yield every parameter and every node's output that is read anywhere within `source`."""
    for part in walk(source):
        if isinstance(part, FromParam | FromNodeOutput):
            yield part


def splices(source: Source) -> Iterator[Splice]:
    """Yield every splice within `source`, outer before inner."""
    for part in walk(source):
        if isinstance(part, Splice):
            yield part


def own_items(source: Source | Splice) -> Iterator[Readable]:
    """Yield what is read by item, outside of splices: these make the node that has `source` a fan-out."""
    if isinstance(source, Each):
        yield source.source
    elif not isinstance(source, Splice):
        for part in parts(source):
            yield from own_items(part)


MOST_LEVELS: Final = 100
"""Values are planned, written and read by recursion, of which Python allows about 1,000 steps."""

MOST_NESTED_DAGS: Final = 100

_CONTAINERS: Final = frozenset({list, tuple, dict, set, frozenset})


def check_source(place: str, part: Source | Splice) -> None:
    """Check that a source is made of tuples, and its value not nested too deeply.

    Raises InvalidDag, which names `place`.
    """
    if isinstance(part, FromParam | FromNodeOutput):
        check_serializer(part.serializer)
        _check_default(place, part)
    value = part.value if isinstance(part, Literal) else getattr(part, "default_value", None)
    if fault := depth_fault(value):
        raise InvalidDag(place, *fault)
    items = getattr(part, "items", getattr(part, "pairs", getattr(part, "steps", ())))
    if not isinstance(items, tuple):
        kind = type(part).__name__
        raise InvalidDagType(f"{place}: {kind}", f"is made of {shown(items)}, not a tuple", f"write {kind}((..., ...))")


def _check_default(place: str, part: Readable) -> None:
    """Refuse a serializer in the place of a default, where it stood once: nobody means one as a value."""
    default = getattr(part, "default_value", None)
    if _is_serializer(default):
        remedy = f"name it: serializer={shown(default)}"
        raise InvalidDagType(place, f"has the serializer {shown(default)} as its default value", remedy)


def _is_serializer(value: object) -> bool:
    return hasattr(type(value), "deserialize") and isinstance(value, Serializer)


def depth_fault(value: object) -> tuple[str, str] | None:
    """Return the problem of a value that is nested too deeply, with its place, and the remedy; else None."""
    if type(value) not in _CONTAINERS:
        return None
    path: list[tuple[Any, Iterator[tuple[Any, Any]]]] = [(value, _parts(value))]
    keys: list[Any] = []
    while path:
        key, part = next(path[-1][1], (None, None))
        if part is None:
            path.pop()
            if keys:
                keys.pop()
            continue
        keys.append(key)
        if any(part is above for above, _ in path):
            return f"contains itself at {_at(keys)}", "break the cycle, or make the value in a task"
        if len(path) >= MOST_LEVELS:
            problem = f"is nested more than {MOST_LEVELS} levels deep, at {_at(keys[:3])}..."
            return problem, "make it flatter, or pass it as a parameter that is serialized with AsPickle()"
        path.append((part, _parts(part)))
    return None


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the containers in a container, with their keys."""
    pairs: Iterable[tuple[Any, Any]] = value.items() if type(value) is dict else enumerate(value)
    return ((key, part) for key, part in pairs if type(part) in _CONTAINERS)


def _at(keys: list[Any]) -> str:
    return "".join(f"[{shown(key, 60)}]" for key in keys)


READABLE = "FromParam(...) or FromNodeOutput(...)"


def check_sources(source: object, named: Callable[[], str]) -> None:
    """Check that `source` is a source, made of parts that it may have.

    Raises InvalidDag, in which it is called as it is `named`.
    """
    if _is_plain(source):
        return
    place = named()
    if not isinstance(source, SOURCES):
        raise InvalidDagType(
            place,
            f"is of type {type(source).__name__!r}",
            f"use one of {listed([kind.__name__ for kind in SOURCES], 'or')}; Literal(...) holds a value",
        )
    for part in walk(source):
        check_source(place, part)
        if isinstance(part, Splice) and not isinstance(part.over, FromParam | FromNodeOutput):
            raise InvalidDagType(f"{place}: over={shown(part.over)}", "is not a list", f"give {READABLE}")
        for inner in parts(part):
            if isinstance(inner, Splice):
                if not isinstance(part, ListOf):
                    raise InvalidDagType(f"{place}: a Splice", "is not in a ListOf", "put it into one")
            elif not isinstance(inner, _allowed_in(part)):
                kind = type(part).__name__
                problem = f"cannot hold {shown(inner)} of type {type(inner).__name__!r}"
                raise InvalidDagType(f"{place}: {kind}", problem, "put values into Literal(...)")


def _is_plain(source: object) -> bool:
    """Whether there is nothing in a source that could be wrong by itself, as in most."""
    if type(source) is Each:
        source = source.source
    elif type(source) is Literal:
        return type(source.value) not in _CONTAINERS
    if type(source) is FromNodeOutput:
        return source.serializer is None
    if type(source) is not FromParam or source.serializer is not None:
        return False
    return type(source.default_value) not in _CONTAINERS and not _is_serializer(source.default_value)


def _allowed_in(part: Source | Splice) -> tuple[type[Source], ...]:
    if isinstance(part, Each):
        return (FromParam, FromNodeOutput)
    return (FromParam, FromNodeOutput, Each) if isinstance(part, Part) else SOURCES


def named(read: Readable, input_name: str) -> Readable:
    """Return `read` with the name that a nameless parameter takes from its input."""
    if isinstance(read, FromParam) and read.name is None:
        return FromParam(input_name, read.default_value, read.serializer)
    return read


def described(read: Readable) -> str:
    """Return what errors call a readable source: ``output 'x' of node 'f'``."""
    if isinstance(read, FromParam):
        return f"parameter {shown(read.name)}"
    return f"output {shown(read.output)} of node {shown(read.node)}"
