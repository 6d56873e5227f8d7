"""A call in a DAG's body: of a task, or of a DAG that becomes nested; and what can be told of its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dagcelery.frontends.functional.hints import arity, at, element_of
from dagcelery.frontends.functional.refs import Context, Element, Parameter, Path, Ref, Result
from dagcelery.model.graph import DAG
from dagcelery.model.options import TaskOptions
from dagcelery.model.sources import Source


@dataclass(frozen=True)
class CalledTask:
    """A task and its options; `returns` is its annotation, `outputs` how many values it said it returns."""

    name: str
    name_is_fixed: bool
    func: Callable[..., Any]
    options: TaskOptions
    returns: object = None
    outputs: int | None = None

    def arity(self, path: Path) -> int | None:
        """Return how many values lie at `path` of what is returned, if that is known."""
        return self.outputs if not path and self.outputs is not None else arity(at(self.returns, path))


@dataclass(frozen=True)
class CalledDag:
    """A DAG that was built already; here its parameters are given values."""

    name: str
    name_is_fixed: bool
    dag: DAG
    returns: object = None

    def arity(self, path: Path) -> int | None:
        """Return how many values lie at `path` of what is returned, if that is known."""
        return arity(at(self.returns, path))


Callee: TypeAlias = CalledTask | CalledDag


@dataclass(frozen=True)
class Call:
    """One call while a body runs: what with which arguments, after what, for which elements."""

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
    """Return the context of what is made for `element`."""
    return (*context_of(element.source, calls), element)


def hint_of(ref: Ref, calls: Sequence[Call], parameters: Mapping[str, object]) -> object:
    """Return the annotation of what `ref` stands for, None where there is none."""
    if isinstance(ref.base, Parameter):
        return at(parameters.get(ref.base.name), ref.path)
    if isinstance(ref.base, Element):
        return at(element_of(hint_of(ref.base.source, calls, parameters)), ref.path)
    return at(calls[ref.base.call].callee.returns, ref.base.leaf + ref.path)
