"""`dagger.dsl`: tasks and DAGs as decorated functions, in the bare form and in the called one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, overload

from dagcelery import model
from dagcelery.compat.dagger import rules
from dagcelery.compat.dagger.dag import DAG as BuiltDAG
from dagcelery.compat.dagger.naming import names_of, renamed
from dagcelery.compat.dagger.task import Task
from dagcelery.errors import InvalidDagType
from dagcelery.frontends.functional import DagFunction, TaskFunction
from dagcelery.frontends.functional import build as build_natively
from dagcelery.frontends.functional.definition import name_of
from dagcelery.model import DagOptions, Each, Node, Serialize, Serializer, Source, TaskOptions

__all__ = ["DAG", "Serialize", "build", "task"]

P = ParamSpec("P")
R = TypeVar("R")

# By the id of a function, which is kept so that nobody else gets it, or by the name of a DAG: opaque to everybody, and
# found on the nodes that are built.
_runtime_options: dict[int | str, tuple[object, Mapping[str, Any]]] = {}


class _CalledTask(TaskFunction[P, R]):
    def _called_with(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return super()._called_with(args, kwargs)
        except InvalidDagType as error:
            given = f"the following arguments: args={args} kwargs={kwargs}"
            raise InvalidDagType(
                f"You have invoked the task '{self.__name__}' with {given}", error.problem, error.remedy
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
        if runtime_options:
            _runtime_options[id(func)] = func, runtime_options
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
        if runtime_options:
            _runtime_options[name_of(func)] = func, runtime_options
        return found

    return decorated if fn is None else decorated(fn)


def build(dag: DagFunction[..., Any]) -> BuiltDAG:
    """Return the DAG that a decorated function describes, with py-dagger's names, and by its rules."""
    made = build_natively(dag)
    for source in made.outputs.values():
        rules.check_returned(source, made)
    return _dag(made, made.inputs, name=made.name, options=made.options)


def _dag(dag: model.DAG, inputs: Mapping[str, Source], **more: Any) -> BuiltDAG:
    names = names_of(dag)
    nodes = {names[name]: _node(node, names) for name, node in dag.nodes.items()}
    outputs = {name: renamed(source, names) for name, source in dag.outputs.items()}
    if dag.returns is not None:
        more["returns"] = renamed(dag.returns, names)
    return BuiltDAG(nodes, inputs, outputs, _options_of(dag.name or ""), **more)


def _node(node: Node, names: Mapping[str, str]) -> Node:
    split = rules.check_arguments(node)
    inputs = {name: renamed(source, names) for name, source in node.inputs.items()}
    more: dict[str, Any] = {"after": [names[other] for other in node.after], "options": node.options}
    if split is not None and isinstance(whole := inputs[split], Each):
        inputs[split] = whole.source
        more["partition_by_input"] = split
    if node.over is not None:
        more["over"] = renamed(node.over, names)
    if isinstance(node, model.Task):
        return Task(node.func, inputs, node.outputs, _options_of(id(node.func)), **more)
    return _dag(node, inputs, name=node.name, only_if=node.only_if, **more)


def _options_of(key: int | str) -> Mapping[str, Any]:
    return _runtime_options.get(key, (None, {}))[1]
