"""While the body of a DAG runs, a reference stands for each value that only a run will know.

References are sources with leaves of their own, so that arguments keep one shape from the call to the graph:
`ListOf`, `DictOf` and the like hold them until the graph gives every leaf its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from dagcelery.model.sources import DictOf, ListOf, PathStep, SetOf, Source, Splice, TupleOf

Path: TypeAlias = tuple[PathStep, ...]


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


@dataclass(frozen=True, slots=True)
class Run(Source):
    """In a list: neighbours made one for each element of `over`, before they are folded into one."""

    items: tuple[Source, ...]
    over: Ref


@dataclass(frozen=True, slots=True)
class Spliced(Source):
    """A `Run` once it is folded: the one of its items that stands for all."""

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
    if isinstance(source, Run):
        return Run(tuple(map(change, source.items)), source.over)
    if isinstance(source, Spliced):
        return Spliced(change(source.template), source.over)
    return source


def within(source: Source) -> Iterator[Source]:
    """Yield what `source` is directly made of."""
    if isinstance(source, ListOf):
        yield from (item for item in source.items if isinstance(item, Source))
    elif isinstance(source, TupleOf | SetOf | Run):
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
    """Yield the references within `source`; what its runs go through is not among them."""
    for part in everything(source):
        if isinstance(part, Ref):
            yield part
