"""`dagger.runtime.local`: run a DAG or a task in this process; outputs come back by name, and errors as they were."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dagcelery import client
from dagcelery.compat.dagger import dsl
from dagcelery.compat.dagger.dag import validate_parameters
from dagcelery.errors import NodeFailed, SerializationError
from dagcelery.frontends.functional import DagFunction
from dagcelery.model import DAG, DictOf, FromNodeOutput, Node, Source, Task
from dagcelery.planner.single import as_dag

__all__ = ["ReturnDeserializedOutputs", "invoke"]


class ReturnDeserializedOutputs:
    """Say that `invoke` should return values; it does where nothing else is said."""


class NotSerialized(SerializationError, TypeError, ValueError):
    """What a task returned is not what its outputs promise, or its serializer refuses it."""


def invoke(
    node: Node | DagFunction[..., Any],
    params: Mapping[str, Any] | None = None,
    outputs: ReturnDeserializedOutputs | None = None,
) -> Mapping[str, Any]:
    """Run a DAG or a task, and return its outputs by name. Superfluous parameters are warned about and ignored.

    Raises InvalidParameters, which is a ValueError; what a task raised; NotSerialized.
    """
    node = dsl.build(node) if isinstance(node, DagFunction) else node
    given = dict(params or {})
    validate_parameters(node.inputs, given)
    used = {name: value for name, value in given.items() if name in node.inputs}
    try:
        found: Mapping[str, Any] = client.invoke(_by_name(node), used)
    except NodeFailed as error:
        raise _as_it_was(error, node) from error
    return found


def _by_name(node: Node) -> DAG:
    """Return a DAG that gives back the outputs of a node as a mapping, whatever the node itself gives back."""
    if isinstance(node, Task):
        around = as_dag(node)
        (name,) = around.nodes
        outputs: Mapping[str, Source] = {key: FromNodeOutput(name, key) for key in node.outputs}
    else:
        around, outputs = node, node.outputs
    returns = DictOf(tuple(outputs.items()))
    return DAG(around.nodes, around.inputs, outputs, name=around.name, options=around.options, returns=returns)


def _as_it_was(error: NodeFailed, node: Node) -> BaseException:
    """Return the error that a task raised; where it is a ValueError, say, it names the nodes as well."""
    cause = error.__cause__
    if not isinstance(cause, ValueError | TypeError | SerializationError):
        return cause or error
    told = str(cause)
    kind: type[Exception] = type(cause)
    if isinstance(cause, SerializationError):
        told = f"We encountered the following error while attempting to serialize the results of this task: {told}"
        kind = NotSerialized
    names = [] if isinstance(node, Task) else re.sub(r"\[\d+\]", "", error.address).split("/")
    told = " ".join([*(f"Error when invoking node '{name}'." for name in names), told])
    try:
        return kind(told, "") if kind is NotSerialized else kind(told)
    except TypeError:  # a class whose constructor takes something else
        cause.add_note(told)
        return cause
