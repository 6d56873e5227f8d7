"""Lowered calls become a DAG: nodes, what is read of them, what the body returned.

Graphs of dynamic tasks that differ only in values have one shape, and share one DAG.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, cast

from dagcelery import bounded
from dagcelery.errors import CyclicDependency, InvalidDag
from dagcelery.frontends.functional.annotations import Path, element_of, hint_at, serializer_at, serializer_of
from dagcelery.frontends.functional.lowering import Body, Folded, Level, LoweredNode
from dagcelery.frontends.functional.recorded import Call, CalledDag, CalledTask, Ref, Result, followed, leaves, mapped
from dagcelery.frontends.functional.trace import NESTED
from dagcelery.model import graph as model
from dagcelery.model.graph import DAG, Node, Task
from dagcelery.model.nodes import (
    FromKey,
    FromPath,
    FromProperty,
    FromReturnValue,
    TaskOutput,
    UniqueNames,
    output_name,
    valid,
)
from dagcelery.model.options import DagOptions, Serializer
from dagcelery.model.signatures import hints
from dagcelery.model.sources import (
    DictOf,
    Each,
    FromNodeOutput,
    FromParam,
    ListOf,
    Literal,
    Open,
    Readable,
    SetOf,
    Source,
    TupleOf,
    own_items,
)
from dagcelery.objects import identity


def graph(
    folded: Folded,
    parameters: Mapping[str, FromParam],
    annotations: Mapping[str, object],
    *,
    name: str,
    options: DagOptions,
) -> model.DAG:
    """Return the DAG of a folded body; `annotations` are those of its `parameters`."""
    top = Level(Body(folded, annotations, options), range(len(folded.calls)))
    top.place()
    returns = top.source(folded.returns, ())
    want_serializers(top)
    nodes = _nodes(top)
    inputs = {name: _declared(source, top.wanted.get(name)) for name, source in parameters.items()}
    outputs = dict(_outputs(returns))
    with _circles_explained():
        return model.DAG(nodes, inputs, outputs, name=name, options=options, returns=returns)


def lone(folded: Folded, annotations: Mapping[str, object], options: DagOptions) -> Source:
    """Return what a folded body returns that calls nothing."""
    return Level(Body(folded, annotations, options), ()).source(folded.returns, ())


def want_serializers(level: Level) -> None:
    """Let what is read by an annotated parameter be written as it says, if its writer says nothing.

    Inner levels come first, since their parameters pass the wish on to what they are given.
    """
    for inner in level.inner.values():
        want_serializers(inner)
    for key, node in level.nodes_of_inner.items():
        for name, serializer in level.inner[key].wanted.items():
            _want(level, node, name, serializer)
    for number, node in level.own.items():
        wishes = wishes_of(level.body.calls[number].callee)
        for name in wishes.keys() & node.inputs.keys():
            _want(level, node, name, wishes[name])


def _want(level: Level, reader: LoweredNode, name: str, serializer: Serializer) -> None:
    source = reader.inputs[name]
    read = source.source if isinstance(source, Each) else source
    if isinstance(read, FromParam):
        level.wanted.setdefault(read.name or "", serializer)
    elif isinstance(read, FromNodeOutput):
        for number, node in level.own.items():
            if node.name == read.node:
                node.wanted.setdefault(read.output, serializer)
                if _is_written_otherwise(level, number, read.output, serializer, by_item=source is not read):
                    # The rule that serializers agree will tell both.
                    serialized = replace(read, serializer=serializer)
                    reader.inputs[name] = serialized if source is read else Each(serialized)


def _is_written_otherwise(level: Level, number: int, output: str, serializer: Serializer, *, by_item: bool) -> bool:
    """Whether what is read is written with another serializer; those of elements say nothing of their list."""
    node, callee = level.own[number], level.body.calls[number].callee
    path, split = node.reads[output]
    is_mapped = bool(node.over) or _takes_items(node)
    if not isinstance(callee, CalledTask) or split + is_mapped != by_item:
        return False
    return (_serializer(callee, path, split) or node.wanted[output]) != serializer


def wishes_of(callee: CalledTask | CalledDag) -> dict[str, Serializer]:
    """Return the serializers with which what is called reads its parameters, where their annotations say so."""
    if isinstance(callee, CalledTask):
        wishes = {name: serializer_of(hint) for name, hint in hints(callee.func).items()}
    else:
        wishes = {name: getattr(source, "serializer", None) for name, source in callee.dag.inputs.items()}
    return {name: wish for name, wish in wishes.items() if isinstance(wish, Serializer)}


def _declared(source: FromParam, wanted: Serializer | None) -> FromParam:
    return FromParam(source.name, source.serializer or wanted, source.default_value)


def _outputs(returns: Source) -> Iterator[tuple[str, Source]]:
    if isinstance(returns, DictOf):
        # Different keys may look the same once they are names: one that is a name as it stands keeps it.
        plain = {key for key, _ in returns.pairs if isinstance(key, str) and _key_name(key) == f"key_{key}"}
        names = UniqueNames(map(_key_name, plain))
        for key, source in returns.pairs:
            is_plain = isinstance(key, str) and key in plain
            yield _key_name(key) if is_plain else names.give(_key_name(key)), source
    elif returns != Literal(None):
        yield "return_value", returns


def _key_name(key: object) -> str:
    return output_name((("key", valid(key)),))


def _nodes(level: Level) -> dict[str, model.Node]:
    made: dict[str, tuple[int, model.Node]] = {}
    for number, node in level.own.items():
        made[node.name] = number, _node(level, number, node)
    for key, node in level.nodes_of_inner.items():
        first = min(number for number, group in level.inner_of.items() if group == key)
        made[node.name] = first, _lifted(level.inner[key], node)
    return {name: node for name, (_, node) in sorted(made.items(), key=lambda item: item[1][0])}


def _node(level: Level, number: int, node: LoweredNode) -> model.Node:
    callee = level.body.calls[number].callee
    if isinstance(callee, CalledTask):
        outputs = {name: _output(callee, node, name) for name in node.reads}
        return model.Task(callee.func, node.inputs, outputs, options=callee.options, after=node.after, over=_over(node))
    dag = callee.dag
    given_back = {name: followed(dag.returns or Literal(None), path) for name, (path, _) in node.reads.items()}
    return model.DAG(
        dag.nodes,
        node.inputs,
        given_back,
        name=dag.name,
        options=dag.options,
        after=node.after,
        over=_over(node),
    )


def _lifted(inner: Level, node: LoweredNode) -> model.DAG:
    options = DagOptions(serializer=inner.body.options.serializer)
    with _circles_explained():
        return model.DAG(_nodes(inner), node.inputs, inner.outputs, options=options, after=node.after, over=_over(node))


@contextmanager
def _circles_explained() -> Iterator[None]:
    """Calls cannot need each other in a circle; only moving an inner loop into a nested DAG can make one."""
    try:
        yield
    except CyclicDependency as error:
        raise InvalidDag(
            f"the inner loop that became node {error.nodes[0]!r}",
            "needs what was made of all its own results",
            NESTED,
        ) from error


def _over(node: LoweredNode) -> Readable | None:
    """Return what must be said beside the inputs: nothing, where an input is taken by item already."""
    return None if _takes_items(node) else node.over


def _takes_items(node: LoweredNode) -> bool:
    return any(True for source in node.inputs.values() for _ in own_items(source))


def _output(callee: CalledTask, node: LoweredNode, name: str) -> TaskOutput:
    path, split = node.reads[name]
    serializer = _serializer(callee, path, split) or node.wanted.get(name)
    if not path:
        return FromReturnValue(serializer, split)
    (kind, key), *deeper = path
    if deeper or not isinstance(key, str):
        return FromPath(path, serializer, split)
    return FromKey(key, serializer, split) if kind == "key" else FromProperty(key, serializer, split)


def _serializer(callee: CalledTask, path: Path, split: bool) -> Serializer | None:
    of_element = serializer_of(element_of(hint_at(callee.returns, path))) if split else None
    if isinstance(of_element, Serializer):
        return of_element
    return serializer_at(callee.options.serializer, callee.returns, path)


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
            known = bounded.put(_shapes, shape, (self._opened(), self._calls), _KEPT_SHAPES)
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
    taken = UniqueNames()
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
        title: _grown_node(call, given, [names[_call_of(ref)] for ref in leaves(call.after)], wanted.get(title))
        for title, call, given in zip(names, calls, inputs, strict=True)
    }
    return DAG(nodes, name=name, returns=placed(returns))


def _call_of(ref: Ref) -> int:
    return cast(Result, ref.base).call


def _grown_node(call: Call, inputs: Mapping[str, Source], after: list[str], wanted: Serializer | None) -> Node:
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
