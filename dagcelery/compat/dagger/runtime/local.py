"""`dagger.runtime.local`: run a DAG or a task in this process; outputs come by name, errors as they were raised."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from typing import Any

from dagcelery import client
from dagcelery.client import OutputFile, ReturnDeserializedOutputs, StoreSerializedOutputsInPath
from dagcelery.client import PartitionedOutput as Parts
from dagcelery.compat.dagger import dsl, old_paths
from dagcelery.compat.dagger.input import validate_and_clean_parameters
from dagcelery.compat.dagger.runtime import beyond
from dagcelery.compat.dagger.runtime.execution import invoke_dag, invoke_node, invoke_task
from dagcelery.compat.dagger.runtime.outputs import (
    NodeExecutions,
    NodeOutput,
    NodeOutputs,
    NodeParams,
    PartitionedOutput,
    deserialized_outputs,
    dump,
    held,
    load,
)
from dagcelery.errors import InvalidParameters
from dagcelery.frontends.functional import DagFunction
from dagcelery.model import Buildable, Node, Task

__all__ = [
    "NodeExecutions",
    "NodeOutput",
    "NodeOutputs",
    "NodeParams",
    "OutputFile",
    "PartitionedOutput",
    "ReturnDeserializedOutputs",
    "StoreSerializedOutputsInPath",
    "deserialized_outputs",
    "dump",
    "invoke",
    "invoke_dag",
    "invoke_node",
    "invoke_task",
    "load",
]


def invoke(
    node: Node | Buildable[..., Any],
    params: Mapping[str, Any] | None = None,
    outputs: ReturnDeserializedOutputs | StoreSerializedOutputsInPath | None = None,
) -> Mapping[str, Any]:
    """Run a DAG or a task, and return its outputs by name. Superfluous parameters are ignored, with a warning.

    With StoreSerializedOutputsInPath they are files, and those of all nodes are below that folder.

    Raises InvalidParameters, a ValueError; the exception of a task; SerializationError; OSError.
    """
    node = built(node)
    params = {} if params is None else params
    if not isinstance(params, Mapping):
        raise InvalidParameters(f"params={params!r}", "are not a mapping", "give a dict of names and values")
    if superfluous := sorted(params.keys() - node.inputs.keys()):
        warnings.warn(f"These parameters are ignored, since the node does not use them: {superfluous}", stacklevel=2)
    clean = validate_and_clean_parameters(node.inputs, params)
    if not beyond.is_plain(node):
        values = beyond.invoke(node, clean, outputs or ReturnDeserializedOutputs())
        return {name: PartitionedOutput(value) if isinstance(value, Parts) else value for name, value in values.items()}
    if isinstance(outputs, StoreSerializedOutputsInPath):
        return invoke_node(node, clean, os.fspath(outputs.path))
    with tempfile.TemporaryDirectory() as folder:
        return deserialized_outputs(invoke_node(node, clean, folder, held))


def built(node: Node | Buildable[..., Any]) -> Node:
    """Return a DAG or a task, with py-dagger's names.

    Raises InvalidDag.
    """
    if isinstance(node, Task):
        return node
    return dsl.build(node) if isinstance(node, DagFunction) else client.dag_of(node)


old_paths.register(__name__)
