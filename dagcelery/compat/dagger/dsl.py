"""`dagger.dsl`: tasks and DAGs as decorated functions, with bare and with called decorators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar, overload

from dagcelery import model
from dagcelery.compat.dagger import rules
from dagcelery.compat.dagger.dag import DAG as BuiltDAG
from dagcelery.compat.dagger.task import Task
from dagcelery.errors import InvalidDagType
from dagcelery.frontends.functional import DagFunction, TaskFunction
from dagcelery.frontends.functional import build as build_natively
from dagcelery.frontends.functional.definition import name_of
from dagcelery.model import DagOptions, Node, Serialize, Serializer, Source, TaskOptions

__all__ = ["DAG", "Serialize", "build", "task"]

P = ParamSpec("P")
R = TypeVar("R")

# By the id of a function, which is kept so that its id stays its own, or by the name of a DAG. They mean nothing here,
# and are on the nodes that are built.
_runtime_options: dict[int | str, tuple[object, Mapping[str, Any]]] = {}


class _CalledTask(TaskFunction[P, R]):
    def _called_with(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return super()._called_with(args, kwargs)
        except InvalidDagType as error:
            arguments = f"the following arguments: args={args} kwargs={kwargs}"
            culprit = f"You have invoked the task '{self.__name__}' with {arguments}"
            raise InvalidDagType(culprit, error.problem, error.remedy) from None


@overload
def task(fn: Callable[P, R], /) -> TaskFunction[P, R]: ...
@overload
def task(
    *, serializer: Serialize | Serializer | None = None, runtime_options: Mapping[str, Any] | None = None
) -> Callable[[Callable[P, R]], TaskFunction[P, R]]: ...
def task(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    serializer: Serialize | Serializer | None = None,
    runtime_options: Mapping[str, Any] | None = None,
) -> Any:
    """Make a function a task, as ``@task`` or ``@task()``.

    Raises InvalidDag, which is a ValueError.
    """

    def decorated(func: Callable[..., Any]) -> TaskFunction[..., Any]:
        if runtime_options:
            _runtime_options[id(func)] = func, runtime_options
        return _CalledTask(func, TaskOptions(serializer=serializer))

    return decorated if fn is None else decorated(fn)


@overload
def DAG(fn: Callable[P, R], /) -> DagFunction[P, R]: ...
@overload
def DAG(*, runtime_options: Mapping[str, Any] | None = None) -> Callable[[Callable[P, R]], DagFunction[P, R]]: ...
def DAG(fn: Callable[..., Any] | None = None, /, *, runtime_options: Mapping[str, Any] | None = None) -> Any:
    """Make a function the body of a DAG, as ``@DAG`` or ``@DAG()``.

    Raises InvalidDag, which is a ValueError.
    """

    def decorated(func: Callable[..., Any]) -> DagFunction[..., Any]:
        if runtime_options:
            _runtime_options[name_of(func)] = func, runtime_options
        return DagFunction(func, DagOptions())

    return decorated if fn is None else decorated(fn)


def build(dag: DagFunction[..., Any]) -> BuiltDAG:
    """Return the DAG of a decorated function, with py-dagger's names and by its rules."""
    native = build_natively(dag)
    for source in native.outputs.values():
        rules.check_returned(source, native)
    return _dag(native, native.inputs, name=native.name, options=native.options)


def _dag(dag: model.DAG, inputs: Mapping[str, Source], **more: Any) -> BuiltDAG:
    names = _names_of(dag)
    nodes = {names[name]: _node(node, names) for name, node in dag.nodes.items()}
    outputs = {name: _renamed(source, names) for name, source in dag.outputs.items()}
    if dag.returns is not None:
        more["returns"] = _renamed(dag.returns, names)
    return BuiltDAG(nodes, inputs, outputs, _options_of(dag.name or ""), **more)


def _node(node: Node, names: Mapping[str, str]) -> Node:
    split = rules.check_arguments(node)
    inputs = {name: _renamed(source, names) for name, source in node.inputs.items()}
    more: dict[str, Any] = {"after": [names[other] for other in node.after], "options": node.options}
    if split is not None and isinstance(whole := inputs[split], model.Each):
        inputs[split] = whole.source
        more["partition_by_input"] = split
    if node.over is not None:
        more["over"] = _renamed(node.over, names)
    if isinstance(node, model.Task):
        return Task(node.func, inputs, node.outputs, _options_of(id(node.func)), **more)
    return _dag(node, inputs, name=node.name, only_if=node.only_if, **more)


def _names_of(dag: model.DAG) -> dict[str, str]:
    """Return py-dagger's names of nodes: ``my-task`` where there is one, else ``my-task-1``, ``my-task-2``."""
    calls: dict[str, list[str]] = {}
    for name in dag.nodes:
        calls.setdefault(name.partition("-")[0], []).append(name)
    return {
        name: base.replace("_", "-") + (f"-{at}" if len(same) > 1 else "")
        for base, same in calls.items()
        for at, name in enumerate(same, 1)
    }


def _renamed(source: Any, names: Mapping[str, str]) -> Any:
    """Return a source that reads the same outputs of nodes by other names."""
    match source:
        case model.FromNodeOutput():
            return replace(source, node=names[source.node])
        case model.Each() | model.Part():
            return replace(source, source=_renamed(source.source, names))
        case model.ListOf() | model.TupleOf() | model.SetOf():
            return replace(source, items=tuple([_renamed(item, names) for item in source.items]))
        case model.DictOf():
            return model.DictOf(tuple([(key, _renamed(value, names)) for key, value in source.pairs]))
        case model.Choice():
            parts = (source.condition, source.then, source.otherwise)
            return model.Choice(*[_renamed(part, names) for part in parts])
        case model.Splice():
            return model.Splice(_renamed(source.template, names), _renamed(source.over, names))
        case _:
            return source


def _options_of(key: int | str) -> Mapping[str, Any]:
    return _runtime_options.get(key, (None, {}))[1]
