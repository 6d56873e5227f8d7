"""A DAG that was read from a body, as py-dagger would have built it: its names, its sources, its rules.

The body is read by dagcelery, so that what py-dagger gets wrong is right or refused. What its model cannot say, such as
an output within a dict, stays as dagcelery says it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from dagcelery import model
from dagcelery.compat.dagger import dsl_rules, output
from dagcelery.compat.dagger.dag import DAG
from dagcelery.compat.dagger.input import FromNodeOutput, FromParam
from dagcelery.compat.dagger.serializer import DefaultSerializer
from dagcelery.compat.dagger.task import Task
from dagcelery.model import Node, Source, TaskOutput
from dagcelery.model.sources import parts
from dagcelery.objects import same


class Decorated(NamedTuple):
    """A decorated function: the defaults of its parameters, and what was given for runtimes."""

    defaults: Mapping[str, object] = MappingProxyType({})
    runtime_options: Mapping[str, Any] = MappingProxyType({})


Find: TypeAlias = Callable[[int], Decorated]
"""Finds a task by the id of its function, a DAG by that of its options."""


class _Scope(NamedTuple):
    """What is known of a DAG while its nodes are translated: their names, and what they read from."""

    names: Mapping[str, str]
    inputs: Mapping[str, Source]
    nodes: dict[str, Node]
    find: Find

    def serializer(self, read: object) -> Any:
        """Return the one that its value was written with; None where that is put together from several."""
        if isinstance(read, model.FromNodeOutput):
            written: object = self.nodes[self.names[read.node]].outputs[read.output]
        else:
            written = self.inputs.get(getattr(read, "name", None) or "")
        return DefaultSerializer if written is None else getattr(written, "serializer", None)


def translated(native: model.DAG, find: Find) -> DAG:
    """Return a DAG with py-dagger's names.

    Raises InvalidDag.
    """
    inputs = {
        name: FromParam(name, source.default_value, source.serializer or DefaultSerializer)
        for name, source in native.inputs.items()
        if isinstance(source, model.FromParam)
    }
    return _dag(native, inputs, find)


def _dag(dag: model.DAG, inputs: Mapping[str, Source], find: Find, **more: Any) -> DAG:
    if ":" in (dag.name or ""):  # the name of a function, which no DAG of `when` has
        dsl_rules.check_returned(dag)
    scope = _Scope(_names(dag.nodes), inputs, {}, find)
    for name in (name for layer in dag.node_execution_order for name in layer):
        scope.nodes[scope.names[name]] = _node(dag.nodes[name], dag, scope)
    nodes = {name: scope.nodes[name] for name in scope.names.values()}
    outputs = {name: _source(source, scope) for name, source in {**_returned(dag.returns), **dag.outputs}.items()}
    more |= {"name": dag.name, "options": dag.options, "returns": dag.returns and _source(dag.returns, scope)}
    return DAG(nodes, inputs, outputs, find(id(dag.options)).runtime_options, **more)


def _returned(returns: Source | None) -> dict[str, Source]:
    """Return the outputs of a DAG, those too that nothing reads: each can be asked for."""
    if isinstance(returns, model.DictOf) and all(isinstance(each, model.FromNodeOutput) for _, each in returns.pairs):
        return {f"key_{key}": each for key, each in returns.pairs}
    return {"return_value": returns} if isinstance(returns, model.FromNodeOutput) else {}


def _node(node: Node, dag: model.DAG, scope: _Scope) -> Node:
    split = dsl_rules.check_arguments(node, dag)
    defaults = scope.find(id(node.options)).defaults
    inputs = {name: _input(name, source, scope, defaults) for name, source in node.inputs.items()}
    more: dict[str, Any] = {"after": [scope.names[other] for other in node.after]}
    if split is not None and isinstance(whole := inputs[split], model.Each):
        inputs[split] = whole.source
        more["partition_by_input"] = split
    if node.over is not None:
        more["over"] = _source(node.over, scope)
    if isinstance(node, model.Task):
        outputs = {name: _output(each) for name, each in node.outputs.items()}
        return Task(node.func, inputs, outputs, scope.find(id(node.func)).runtime_options, options=node.options, **more)
    return _dag(node, inputs, scope.find, only_if=node.only_if, **more)


def _names(natively: Iterable[str]) -> dict[str, str]:
    """Return py-dagger's names of nodes: ``my-task`` where there is one, else ``my-task-1``, ``my-task-2``."""
    calls: dict[str, list[str]] = {}
    for name in natively:
        calls.setdefault(name.partition("-")[0], []).append(name)
    counted = ((base, at, name, len(names)) for base, names in calls.items() for at, name in enumerate(names, 1))
    named = {name: base.replace("_", "-") + (f"-{at}" if count > 1 else "") for base, at, name, count in counted}
    return {name: named[name] for name in natively}


def _input(name: str, source: Source, scope: _Scope, defaults: Mapping[str, object]) -> Any:
    if not isinstance(source, model.Literal):
        return _source(source, scope)
    kind = "default" if name in defaults and same(defaults[name], source.value) else "hardcoded"
    return FromParam(f"_{kind}_value_{name}", source.value)


def _output(native: TaskOutput) -> TaskOutput:
    serializer = native.serializer or DefaultSerializer
    match native:
        case model.FromReturnValue():
            return output.FromReturnValue(serializer, native.is_partitioned)
        case model.FromKey():
            return output.FromKey(native.name, serializer, native.is_partitioned)
        case model.FromProperty():
            return output.FromProperty(native.name, serializer, native.is_partitioned)
        case _:
            return replace(native, serializer=serializer)


def _source(source: Any, scope: _Scope) -> Any:
    """Return a source that reads the same by other names."""
    match source:
        case model.FromNodeOutput():
            return FromNodeOutput(scope.names[source.node], source.output, scope.serializer(source))
        case model.FromParam():
            return FromParam(source.name, source.default_value, scope.serializer(source))
        case model.Each() | model.Part():
            return replace(source, source=_source(source.source, scope))
        case model.ListOf() | model.TupleOf() | model.SetOf():
            return replace(source, items=tuple([_source(item, scope) for item in source.items]))
        case model.DictOf():
            return model.DictOf(tuple([(key, _source(value, scope)) for key, value in source.pairs]))
        case model.Choice():
            return model.Choice(*[_source(part, scope) for part in parts(source)])
        case model.Splice():
            return model.Splice(_source(source.template, scope), _source(source.over, scope))
        case _:
            return source
