"""`dagger.dsl`: tasks and DAGs as decorated functions, in the bare form and in the called one."""

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
from dagcelery.model import (
    DagOptions,
    DictOf,
    Each,
    FromNodeOutput,
    ListOf,
    Node,
    Part,
    Serialize,
    Serializer,
    SetOf,
    Source,
    Splice,
    TaskOptions,
    TupleOf,
)

__all__ = ["DAG", "Serialize", "build", "task"]

P = ParamSpec("P")
R = TypeVar("R")

# By function, or by the name of a DAG: opaque to everybody, and found on the nodes that are built.
_runtime_options: dict[object, Mapping[str, Any]] = {}


class _CalledTask(TaskFunction[P, R]):
    def _called_with(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return super()._called_with(args, kwargs)
        except InvalidDagType as error:
            given = f"the following arguments: args={args} kwargs={kwargs}"
            raise InvalidDagType(
                f"You have invoked the task '{self.__name__}' with {given}", error.wrong, error.right
            ) from None


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
    """Make a function a task, as ``@task`` or ``@task()``. Raises InvalidDag, which is a ValueError."""

    def decorated(func: Callable[..., Any]) -> TaskFunction[..., Any]:
        _runtime_options[func] = runtime_options or {}
        return _CalledTask(func, TaskOptions(serializer=serializer))

    return decorated if fn is None else decorated(fn)


@overload
def DAG(fn: Callable[P, R], /) -> DagFunction[P, R]: ...
@overload
def DAG(*, runtime_options: Mapping[str, Any] | None = None) -> Callable[[Callable[P, R]], DagFunction[P, R]]: ...
def DAG(fn: Callable[..., Any] | None = None, /, *, runtime_options: Mapping[str, Any] | None = None) -> Any:
    """Make a function the body of a DAG, as ``@DAG`` or ``@DAG()``. Raises InvalidDag, which is a ValueError."""

    def decorated(func: Callable[..., Any]) -> DagFunction[..., Any]:
        found: DagFunction[..., Any] = DagFunction(func, DagOptions())
        _runtime_options[f"{func.__module__}:{func.__qualname__}"] = runtime_options or {}
        return found

    return decorated if fn is None else decorated(fn)


def build(dag: DagFunction[..., Any]) -> BuiltDAG:
    """Return the DAG that a decorated function describes, with py-dagger's names, and by its rules."""
    made = build_natively(dag)
    for source in made.outputs.values():
        rules.check_returned(source, made)
    return _dag(made, made.inputs, name=made.name, options=made.options)


def _dag(dag: model.DAG, inputs: Mapping[str, Source], **more: Any) -> BuiltDAG:
    names = _names(dag)
    nodes = {names[name]: _node(node, names) for name, node in dag.nodes.items()}
    outputs = {name: _renamed(source, names) for name, source in dag.outputs.items()}
    if dag.returns is not None:
        more["returns"] = _renamed(dag.returns, names)
    return BuiltDAG(nodes, inputs, outputs, _runtime_options.get(dag.name), **more)


def _node(node: Node, names: Mapping[str, str]) -> Node:
    split = rules.check_arguments(node)
    inputs = {name: _renamed(source, names) for name, source in node.inputs.items()}
    more: dict[str, Any] = {"after": [names[other] for other in node.after], "options": node.options}
    if split is not None and isinstance(whole := inputs[split], Each):
        inputs[split] = whole.source
        more["partition_by_input"] = split
    if node.over is not None:
        more["over"] = _renamed(node.over, names)
    if isinstance(node, model.Task):
        return Task(node.func, inputs, node.outputs, _runtime_options.get(node.func), **more)
    return _dag(node, inputs, name=node.name, **more)


def _names(dag: model.DAG) -> dict[str, str]:
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
        case FromNodeOutput():
            return replace(source, node=names[source.node])
        case Each() | Part():
            return replace(source, source=_renamed(source.source, names))
        case ListOf() | TupleOf() | SetOf():
            return replace(source, items=tuple([_renamed(item, names) for item in source.items]))
        case DictOf():
            return DictOf(tuple([(key, _renamed(value, names)) for key, value in source.pairs]))
        case Splice():
            return Splice(_renamed(source.template, names), _renamed(source.over, names))
        case _:
            return source
