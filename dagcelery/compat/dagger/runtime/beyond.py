"""What py-dagger could not say is run by dagcelery's engine, with errors told as py-dagger tells them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dagcelery import client
from dagcelery.client import ReturnDeserializedOutputs, StoreSerializedOutputsInPath
from dagcelery.compat.dagger.output import FromKey, FromProperty, FromReturnValue
from dagcelery.errors import NodeFailed, SerializationError
from dagcelery.model import DAG, DagOptions, FromNodeOutput, Node, Task, TaskOptions


class NotSerialized(SerializationError, TypeError, ValueError):
    """A returned value does not have the parts that its outputs promise, or its serializer refuses it."""


def is_plain(node: Node) -> bool:
    """Whether py-dagger could have said a node, and all within it."""
    if node.after or node.over is not None or any(type(each).__module__ != _SOURCES for each in node.inputs.values()):
        return False
    if isinstance(node, Task):
        options: object = replace(node.options, serializer=None)
        return options == TaskOptions() and all(isinstance(each, _OUTPUTS) for each in node.outputs.values())
    if node.only_if is not None or replace(node.options, serializer=None) != DagOptions():
        return False
    return all(isinstance(each, FromNodeOutput) for each in node.outputs.values()) and all(
        map(is_plain, node.nodes.values())
    )


_SOURCES = f"{FromKey.__module__.rpartition('.')[0]}.input"
_OUTPUTS = (FromKey, FromProperty, FromReturnValue)


def invoke(
    node: Node, params: Mapping[str, Any], outputs: ReturnDeserializedOutputs | StoreSerializedOutputsInPath
) -> dict[str, Any]:
    """Run a node, and return its outputs by name."""
    try:
        values: Mapping[str, Any] = client.invoke(node, params, outputs)
    except NodeFailed as error:
        raise _as_it_was(error, node) from error
    return {name: value for name, value in values.items() if name in node.outputs}


def _as_it_was(error: NodeFailed, node: Node) -> BaseException:
    """Return the exception of a task, with the nodes in its message if its class allows that."""
    cause = error.__cause__
    if not isinstance(cause, ValueError | TypeError | SerializationError):
        return cause or error
    message = str(cause)
    kind: type[Exception] = type(cause)
    if isinstance(cause, SerializationError):
        message = f"We encountered the following error while attempting to serialize the results of this task: {cause}"
        kind = NotSerialized
    names = re.sub(r"\[\d+\]", "", error.address).split("/") if isinstance(node, DAG) else []
    message = " ".join([*(f"Error when invoking node '{name}'." for name in names), message])
    return retold(cause, message, kind)


def retold(error: Exception, message: str, kind: type[Exception] | None = None) -> Exception:
    """Return an exception of the same class with another message; the same with a note, where its class takes none."""
    try:
        return (kind or type(error))(message)
    except Exception:  # its constructor takes other arguments
        error.add_note(message)
        return error
