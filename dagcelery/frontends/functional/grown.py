"""What a running task called becomes a DAG. Graphs that differ only in values have one shape, and share one DAG."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, cast

from dagcelery.frontends.functional.calls import Call, CalledTask
from dagcelery.frontends.functional.graph import wishes_of
from dagcelery.frontends.functional.hints import serializer_at
from dagcelery.frontends.functional.naming import Names
from dagcelery.frontends.functional.refs import Ref, Result, leaves, mapped
from dagcelery.model.graph import DAG, Node, Task
from dagcelery.model.outputs import FromReturnValue
from dagcelery.model.serializers import Serializer
from dagcelery.model.sources import DictOf, FromNodeOutput, ListOf, Literal, Open, SetOf, Source, TupleOf
from dagcelery.objects import identity

_VALUE: Final = "return_value"
_KEPT_SHAPES: Final = 256
_shapes: dict[Hashable, tuple[DAG, list[Call]]] = {}
"""DAGs by shape. The calls that they were made of are kept, since a shape names functions by their ids."""


class Grown:
    """A graph that a running task made: all that it called, and what it returned."""

    def __init__(self, name: str, calls: list[Call], returns: Source) -> None:
        self._name = name
        self._calls = calls
        self._returns = returns

    def __dag__(self) -> DAG:
        """Return the graph as a DAG without parameters. Raises InvalidDag."""
        return _dag(self._name, self._calls, self._returns)

    def __shape__(self) -> tuple[DAG, list[object]] | None:
        """Return a DAG where each value is left open, one object for all graphs of this shape, and the values; None
        if a DAG is called, which values may shape.
        """
        if not all(isinstance(call.callee, CalledTask) for call in self._calls):
            return None
        values: list[object] = []
        shape = self._name, tuple([_call_shape(call, values) for call in self._calls]), _shape(self._returns, values)
        known = _shapes.get(shape)
        if known is None:
            if len(_shapes) >= _KEPT_SHAPES:
                _shapes.pop(next(iter(list(_shapes))), None)  # other threads keep shapes, too
            known = _shapes[shape] = self._opened(), self._calls
        return known[0], values

    def _opened(self) -> DAG:
        count = 0

        def opened(source: Source) -> Source:
            nonlocal count
            if isinstance(source, Literal):
                count += 1
                return Literal(Open(count - 1))
            return mapped(source, opened)

        calls = [
            Call(call.callee, {name: opened(given) for name, given in call.arguments.items()}, call.after, ())
            for call in self._calls
        ]
        return _dag(self._name, calls, opened(self._returns))


def _dag(name: str, calls: list[Call], returns: Source) -> DAG:
    taken = Names()
    names = [
        taken.fix(call.callee.name) if call.callee.name_is_fixed else taken.give(call.callee.name) for call in calls
    ]

    def placed(source: Source) -> Source:
        if isinstance(source, Ref):
            return FromNodeOutput(names[_call_of(source)], _VALUE)
        return mapped(source, placed)

    inputs = [{key: placed(source) for key, source in call.arguments.items()} for call in calls]
    wanted: dict[str, Serializer] = {}
    for call, given in zip(calls, inputs, strict=True):
        read = {key: source.node for key, source in given.items() if isinstance(source, FromNodeOutput)}
        for key, serializer in wishes_of(call.callee).items() if read else ():
            if key in read:
                wanted.setdefault(read[key], serializer)
    nodes = {
        title: _node(call, given, [names[_call_of(ref)] for ref in leaves(call.after)], wanted.get(title))
        for title, call, given in zip(names, calls, inputs, strict=True)
    }
    return DAG(nodes, name=name, returns=placed(returns))


def _call_of(ref: Ref) -> int:
    return cast(Result, ref.base).call


def _node(call: Call, inputs: Mapping[str, Source], after: list[str], wanted: Serializer | None) -> Node:
    callee = call.callee
    if isinstance(callee, CalledTask):
        serializer = serializer_at(callee.options.serializer, callee.returns, ()) or wanted
        output = FromReturnValue(serializer)
        return Task(callee.func, inputs, {_VALUE: output}, options=callee.options, after=dict.fromkeys(after))
    dag = callee.dag
    outputs = {_VALUE: dag.returns or Literal(None)}
    return DAG(dag.nodes, inputs, outputs, name=dag.name, options=dag.options, after=dict.fromkeys(after))


def _call_shape(call: Call, values: list[object]) -> Hashable:
    callee = cast(CalledTask, call.callee)
    what = callee.name, callee.name_is_fixed, id(callee.func), id(callee.options)
    arguments = tuple([(name, _shape(source, values)) for name, source in call.arguments.items()])
    return what, arguments, _shape(call.after, [])


def _shape(source: Source, values: list[object]) -> Hashable:
    """Return what tells a source from others but for its values, which are put into `values` in their order."""
    if isinstance(source, Literal):
        values.append(source.value)
        return None
    if isinstance(source, Ref):
        return _call_of(source)
    inner: Callable[[Any], Hashable] = lambda part: _shape(part, values)  # noqa: E731
    if isinstance(source, DictOf):
        return "dict", tuple([(identity(key) or object(), inner(value)) for key, value in source.pairs])
    assert isinstance(source, ListOf | TupleOf | SetOf)
    return type(source), tuple(map(inner, source.items))
