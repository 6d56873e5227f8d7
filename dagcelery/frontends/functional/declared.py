"""What signatures declare of DAGs: their parameters, and the DAG that a task is by itself."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from dagcelery.frontends.functional.definition import Definition, name_of
from dagcelery.model.graph import DAG, Task
from dagcelery.model.nodes import FromReturnValue
from dagcelery.model.options import TaskOptions, alone
from dagcelery.model.serializers import Serializer, serializer_at, serializer_of
from dagcelery.model.sources import EMPTY, FromNodeOutput, FromParam, Literal, Source


def dag_of_task(
    task: Definition[..., Any], node: str, options: TaskOptions, own: frozenset[str], names: list[str]
) -> DAG:
    """Return the DAG whose only node is a task, with these parameters; those that are not its `own` go to **kwargs."""
    hints, parameters = task._hints(), task._signature.parameters
    rest = task._binding.rest or ""
    inputs = {
        each: parameter_of(parameters[each], hints.get(each)) if each in own else parameter_of(None, hints.get(rest))
        for each in names
    }
    held: dict[str, Source] = {each: Literal(value) for each, value in task._object().items()}
    output = FromReturnValue(serializer_at(options.serializer, hints.get("return"), ()))
    arguments = {**held, **{each: FromParam(each) for each in names}}
    made = Task(task.fn, arguments, {"return_value": output}, options=alone(options))
    result = FromNodeOutput(node, "return_value")
    return DAG({node: made}, inputs, {"return_value": result}, name=name_of(task.fn), returns=result)


def parameter_of(parameter: inspect.Parameter | None, hint: object) -> FromParam:
    """Return a parameter of a DAG, with its default and the serializer that its annotation names."""
    default = EMPTY if parameter is None or parameter.default is parameter.empty else parameter.default
    serializer = serializer_of(hint)
    return FromParam(None, default, serializer if isinstance(serializer, Serializer) else None)


def parameters_of(
    signature: inspect.Signature, hints: Mapping[str, object], values: Mapping[str, object]
) -> dict[str, FromParam]:
    """Return the parameters of a DAG but for those that have values."""
    return {
        parameter.name: parameter_of(parameter, hints.get(parameter.name))
        for parameter in signature.parameters.values()
        if parameter.name not in values
    }


def defaults_of(dag: DAG) -> dict[str, object]:
    """Return the defaults of the parameters of a DAG."""
    sources = {name: source for name, source in dag.inputs.items() if isinstance(source, FromParam)}
    return {name: each.default_value for name, each in sources.items() if each.default_value is not EMPTY}


def returns_nothing(dag: DAG) -> bool:
    """Whether a DAG gives nothing back."""
    return dag.returns is None or dag.returns == Literal(None)
