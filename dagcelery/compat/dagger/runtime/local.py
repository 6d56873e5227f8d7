"""`dagger.runtime.local`: run a DAG or a task in this process; outputs come by name, errors as they were raised."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dagcelery import client
from dagcelery.client import OutputFile, PartitionedOutput, ReturnDeserializedOutputs, StoreSerializedOutputsInPath
from dagcelery.compat.dagger import dsl
from dagcelery.compat.dagger.dag import validate_parameters
from dagcelery.errors import NodeFailed, SerializationError
from dagcelery.frontends.functional import DagFunction
from dagcelery.model import Buildable, Node, Task

__all__ = [
    "NodeOutput",
    "NodeOutputs",
    "OutputFile",
    "PartitionedOutput",
    "ReturnDeserializedOutputs",
    "StoreSerializedOutputsInPath",
    "invoke",
]

NodeOutput = OutputFile | PartitionedOutput
NodeOutputs = Mapping[str, NodeOutput]


class NotSerialized(SerializationError, TypeError, ValueError):
    """A returned value does not have the parts that its outputs promise, or its serializer refuses it."""


def invoke(
    node: Node | Buildable[..., Any],
    params: Mapping[str, Any] | None = None,
    outputs: ReturnDeserializedOutputs | StoreSerializedOutputsInPath | None = None,
) -> Mapping[str, Any]:
    """Run a DAG or a task, and return its outputs by name. Superfluous parameters are ignored, with a warning.

    Raises InvalidParameters, a ValueError; the exception of a task; NotSerialized; InvalidLocation, an OSError.
    """
    node = built(node)
    params = {} if params is None else params
    validate_parameters(node.inputs, params)
    used = {name: value for name, value in params.items() if name in node.inputs}
    try:
        values: Mapping[str, Any] = client.invoke(node, used, outputs or ReturnDeserializedOutputs())
    except NodeFailed as error:
        raise as_it_was(error, node) from error
    return {name: value for name, value in values.items() if name in node.outputs}


def built(node: Node | Buildable[..., Any]) -> Node:
    """Return a DAG or a task, with py-dagger's names.

    Raises InvalidDag.
    """
    return dsl.build(node) if isinstance(node, DagFunction) else client.dag_of(node)


def as_it_was(error: NodeFailed, node: Node) -> BaseException:
    """Return the exception of a task, with the nodes in its message if its class allows that."""
    cause = error.__cause__
    if not isinstance(cause, ValueError | TypeError | SerializationError):
        return cause or error
    message = str(cause)
    kind: type[Exception] = type(cause)
    if isinstance(cause, SerializationError):
        message = f"We encountered the following error while attempting to serialize the results of this task: {cause}"
        kind = NotSerialized
    names = [] if isinstance(node, Task) else re.sub(r"\[\d+\]", "", error.address).split("/")
    message = " ".join([*(f"Error when invoking node '{name}'." for name in names), message])
    try:
        return kind(message)
    except TypeError:  # a class whose constructor takes other arguments
        cause.add_note(message)
        return cause
