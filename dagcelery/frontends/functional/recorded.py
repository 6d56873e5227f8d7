"""What is recorded while a body runs: calls, and references to values that only a run will know.

References are sources with leaves of their own, so that arguments keep one shape from the call to the graph:
`ListOf`, `DictOf` and the like hold them until the graph gives every leaf its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

from dagcelery.model.graph import DAG
from dagcelery.model.options import TaskOptions
from dagcelery.model.sources import DictOf, FromParam, ListOf, Literal, Path, PathStep, SetOf, Source, Splice, TupleOf
from dagcelery.objects import copied, same
from dagcelery.signatures import arity, element_of, hint_at
from dagcelery.text import shown


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the DAG that is being built."""

    name: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a call returns; of a nested DAG the part at `leaf` of the shape that it returns."""

    call: int
    leaf: Path = ()


@dataclass(frozen=True, slots=True)
class Element:
    """One of the few elements that an iterated source is given while the body runs."""

    source: Ref
    index: int


@dataclass(frozen=True, slots=True)
class Ref(Source):
    """A value, and what lies at `path` within it."""

    base: Parameter | Result | Element
    path: Path = ()

    @property
    def parameter(self) -> str | None:
        """The name of the parameter that it is, or lies in; None for what calls and iterations give."""
        return self.base.name if isinstance(self.base, Parameter) else None

    def at(self, path: Path) -> Ref:
        """Return the reference to what lies at `path` within the value."""
        return Ref(self.base, self.path + path)


@dataclass(frozen=True, slots=True)
class Unrolled(Source):
    """In a list: neighbours made one for each element of `over`, before they are folded into one."""

    items: tuple[Source, ...]
    over: Ref


@dataclass(frozen=True, slots=True)
class Spliced(Source):
    """An `Unrolled` once it is folded: one of its items, as a template for all."""

    template: Source
    over: Ref


# The elements that a call or a value belongs to, outer ones first: it exists once for each of them.
Context: TypeAlias = tuple[Element, ...]


def mapped(source: Source, change: Callable[[Source], Source]) -> Source:
    """Return `source` with `change` applied to the sources that it is directly made of."""
    if isinstance(source, ListOf):
        return ListOf(tuple(item if isinstance(item, Splice) else change(item) for item in source.items))
    if isinstance(source, TupleOf | SetOf):
        return type(source)(tuple(map(change, source.items)))
    if isinstance(source, DictOf):
        return DictOf(tuple((key, change(value)) for key, value in source.pairs))
    if isinstance(source, Unrolled):
        return Unrolled(tuple(map(change, source.items)), source.over)
    if isinstance(source, Spliced):
        return Spliced(change(source.template), source.over)
    return source


def within(source: Source) -> Iterator[Source]:
    """Yield what `source` is directly made of."""
    if isinstance(source, ListOf):
        yield from (item for item in source.items if isinstance(item, Source))
    elif isinstance(source, TupleOf | SetOf | Unrolled):
        yield from source.items
    elif isinstance(source, DictOf):
        yield from (value for _, value in source.pairs)
    elif isinstance(source, Spliced):
        yield source.template


def everything(source: Source) -> Iterator[Source]:
    """Yield `source` and all that it is made of, outer before inner."""
    yield source
    for part in within(source):
        yield from everything(part)


def leaves(source: Source) -> Iterator[Ref]:
    """Yield the references within `source`; lists that are gone through are not among them."""
    for part in everything(source):
        if isinstance(part, Ref):
            yield part


def rebuilt(
    returns: Source, arguments: Mapping[str, object], leaf: Callable[[Path], object], path: Path = ()
) -> object:
    """Return the value of shape `returns`: literals and arguments pass through, `leaf` makes the rest."""

    def inner(source: Source, key: object) -> object:
        step: PathStep = ("key", key if isinstance(key, int) else str(key))
        return rebuilt(source, arguments, leaf, (*path, step))

    if isinstance(returns, Literal):
        return _copied(returns.value)
    if isinstance(returns, FromParam) and returns.name is not None and returns.name in arguments:
        return arguments[returns.name]
    if isinstance(returns, DictOf):
        return {key: inner(source, key) for key, source in returns.pairs}
    if isinstance(returns, ListOf) and not any(isinstance(item, Splice) for item in returns.items):
        return [inner(item, at) for at, item in enumerate(returns.items) if isinstance(item, Source)]
    if isinstance(returns, TupleOf | SetOf):
        kind = tuple if isinstance(returns, TupleOf) else set
        return kind(inner(item, at) for at, item in enumerate(returns.items))
    return leaf(path)


def _copied(value: object) -> object:
    """Return a copy of a literal of a DAG that was built already: the body that gets it may change it."""
    try:
        return copied(value)
    except Exception:  # it cannot travel either, and is refused where it should
        return value


def followed(returns: Source, path: Path) -> Source:
    """Return the source that lies at `path` within the shape `returns`."""
    for _, key in path:
        if isinstance(returns, DictOf):
            returns = next(source for name, source in returns.pairs if _same_key(name, key))
        elif isinstance(returns, ListOf | TupleOf | SetOf):
            item = returns.items[int(key)]
            assert isinstance(item, Source)
            returns = item
    return returns


def _same_key(name: object, key: object) -> bool:
    return name == key if isinstance(name, int) else str(name) == key


@dataclass(frozen=True)
class CalledTask:
    """A task and its options; `returns` is its annotation, `outputs` how many values it is declared to return."""

    name: str
    name_is_fixed: bool
    func: Callable[..., Any]
    options: TaskOptions
    returns: object = None
    outputs: int | None = None

    def arity(self, path: Path) -> int | None:
        """Return how many values lie at `path` of the returned value, if that is known."""
        return self.outputs if not path and self.outputs is not None else arity(hint_at(self.returns, path))


@dataclass(frozen=True)
class CalledDag:
    """A DAG that was built already; here its parameters are given values."""

    name: str
    name_is_fixed: bool
    dag: DAG
    returns: object = None

    def arity(self, path: Path) -> int | None:
        """Return how many values lie at `path` of the returned value, if that is known."""
        return arity(hint_at(self.returns, path))


Callee: TypeAlias = CalledTask | CalledDag


@dataclass(frozen=True)
class Call:
    """One call while a body runs: its callee and arguments, what it comes after, the elements it is made for."""

    callee: Callee
    arguments: Mapping[str, Source]
    after: Source
    context: Context


def context_of(ref: Ref, calls: Sequence[Call]) -> Context:
    """Return the elements that `ref` exists once for each of."""
    if isinstance(ref.base, Element):
        return within_element(ref.base, calls)
    return calls[ref.base.call].context if isinstance(ref.base, Result) else ()


def within_element(element: Element, calls: Sequence[Call]) -> Context:
    """Return the context of calls for `element`."""
    return (*context_of(element.source, calls), element)


def hint_of(ref: Ref, calls: Sequence[Call], parameters: Mapping[str, object]) -> object:
    """Return the annotation of the value that `ref` stands for, if there is one."""
    if isinstance(ref.base, Parameter):
        return hint_at(parameters.get(ref.base.name), ref.path)
    if isinstance(ref.base, Element):
        return hint_at(element_of(hint_of(ref.base.source, calls, parameters)), ref.path)
    return hint_at(calls[ref.base.call].callee.returns, ref.base.leaf + ref.path)


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


def between_calls(one: Call, other: Call) -> str | None:
    """Return how two calls differ, apart from the elements that they are made for."""
    if one.callee.name != other.callee.name:
        return f"calls {one.callee.name!r} instead of {other.callee.name!r}"
    if not is_same_callee(one.callee, other.callee):
        return f"calls {one.callee.name!r} with other options"
    if one.arguments.keys() != other.arguments.keys():
        return f"calls {one.callee.name!r} with other arguments"
    for name, source in one.arguments.items():
        difference = between(source, other.arguments[name])
        if difference:
            return f"gives {name!r} of {one.callee.name!r} {difference}"
    return f"lets {one.callee.name!r} come after other nodes" if between(one.after, other.after) else None


def between(one: Source, other: Source) -> str | None:
    """Return how two sources differ."""
    if type(one) is not type(other):
        return f"{_source_text(one)} instead of {_source_text(other)}"
    if isinstance(one, Literal) and isinstance(other, Literal):
        return None if same(one.value, other.value) else f"{shown(one.value)} instead of {shown(other.value)}"
    inner, others = list(within(one)), list(within(other))
    is_other = isinstance(one, DictOf) and isinstance(other, DictOf) and not same(_keys(one), _keys(other))
    if is_other or len(inner) != len(others):
        return "another number of values"
    if not inner:
        return None if one == other else "the value of another node or element"
    if isinstance(one, Unrolled | Spliced) and isinstance(other, Unrolled | Spliced) and one.over != other.over:
        return "the elements of another list"
    return next(filter(None, map(between, inner, others)), None)


def is_same_callee(one: Callee, other: Callee) -> bool:
    """Whether two calls are of the same task, or of DAGs that are alike."""
    if isinstance(one, CalledTask) and isinstance(other, CalledTask):
        alike = replace(one, func=other.func, options=other.options) == other
        return alike and same(one.func, other.func) and same(one.options, other.options)
    return one == other


def _keys(source: DictOf) -> list[object]:
    return [key for key, _ in source.pairs]


def _source_text(source: Source) -> str:
    return shown(source.value) if isinstance(source, Literal) else "a value made by a node"
