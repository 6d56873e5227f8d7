"""How py-dagger runs a node in this process: its inputs as they are, each of its outputs in a file.

This is beside the engine of dagcelery because three things are asked that the engine leaves out on purpose: objects
reach functions without being serialized, outputs that nobody reads are checked and written as well, and each node's
files lie in a folder of its own, ``nodes/<node>/<item>``.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from dagcelery.compat.dagger.input import validate_and_clean_parameters
from dagcelery.compat.dagger.runtime import beyond
from dagcelery.compat.dagger.runtime.outputs import (
    NodeExecutions,
    NodeOutput,
    NodeOutputs,
    NodeParams,
    PartitionedOutput,
    dump,
    loaded,
)
from dagcelery.engine.attempts import finished
from dagcelery.errors import SerializationError
from dagcelery.model import DAG, FromParam, Node, Serializer, Task

Keep: TypeAlias = Callable[[str, Any, Serializer], Any]
"""Keeps a value that has a place for a file, and returns where it is."""


def invoke_node(node: Node, params: NodeParams, output_path: str, keep: Keep = dump) -> NodeOutputs:
    """Run a node, with its outputs in a folder, or as `keep` keeps them."""
    if isinstance(node, DAG):
        return invoke_dag(node, params, output_path, keep)
    return invoke_task(node, params, output_path, keep)


def invoke_task(task: Task, params: NodeParams, output_path: str, keep: Keep = dump) -> NodeOutputs:
    """Run a task, with each output in a file of its name, or in a folder with a file for each part.

    Raises InvalidParameters, what the task raises, SerializationError, and TypeError or ValueError where the returned
    value does not have what is declared.
    """
    returned = task.func(**validate_and_clean_parameters(task.inputs, params))
    if inspect.iscoroutine(returned):
        returned = finished(returned)
    outputs: dict[str, NodeOutput] = {}
    for name, output in task.outputs.items():
        try:
            outputs[name] = _kept(os.path.join(output_path, name), name, output, returned, keep)
        except (TypeError, ValueError, SerializationError) as error:
            told = f"We encountered the following error while attempting to serialize the results of this task: {error}"
            raise beyond.retold(error, told) from error
    return outputs


def invoke_dag(dag: DAG, params: NodeParams, output_path: str, keep: Keep = dump) -> NodeOutputs:
    """Run a DAG, node by node in their order, and return the outputs that it gives back.

    Raises what `invoke_task` raises, with the names of the nodes before it.
    """
    params = validate_and_clean_parameters(dag.inputs, params)
    done: dict[str, NodeExecutions] = {}
    for name in (name for group in dag.node_execution_order for name in dag.nodes if name in group):
        node, executions = dag.nodes[name], list[NodeOutputs]()
        try:
            for at, arguments in enumerate(_arguments_by_partition(node, params, done)):
                folder = os.path.join(output_path, "nodes", name, str(at))
                if keep is dump:
                    os.makedirs(folder)
                executions.append(invoke_node(node, arguments, folder, keep))
        except (ValueError, TypeError, SerializationError) as error:
            raise beyond.retold(error, f"Error when invoking node '{name}'. {error}") from error
        done[name] = PartitionedOutput(executions) if node.partition_by_input else executions[0]
    sources: dict[str, Any] = dict(dag.outputs)
    return {name: done[source.node][source.output] for name, source in sources.items()}  # type: ignore[index]


def _arguments_by_partition(
    node: Node, params: NodeParams, done: Mapping[str, NodeExecutions]
) -> Iterator[dict[str, Any]]:
    split = node.partition_by_input
    whole = {
        name: _argument(name, source, params, done)
        for name, source in node.inputs.items()
        if name != split and not (isinstance(source, FromParam) and (source.name or name) not in params)
    }
    if split is None:
        yield whole
    else:
        yield from ({split: part, **whole} for part in _argument(split, node.inputs[split], params, done))


def _argument(name: str, source: Any, params: NodeParams, done: Mapping[str, NodeExecutions]) -> Any:
    if isinstance(source, FromParam):
        return params[source.name or name]
    executions = done[source.node]
    if isinstance(executions, PartitionedOutput):
        return [loaded(each[source.output]) for each in executions]
    return loaded(executions[source.output])


def _kept(filename: str, name: str, output: Any, returned: Any, keep: Keep) -> Any:
    value, serializer = output.from_function_return_value(returned), output.serializer
    if not output.is_partitioned:
        return keep(filename, value, serializer)
    if not isinstance(value, Iterable):
        raise TypeError(
            f"Output '{name}' was declared as a partitioned output, but the return value was not an iterable (instead, "
            f"it was of type '{type(value).__name__}'). Partitioned outputs should be iterables of values (e.g. lists "
            "or sets). Each value in the iterable must be serializable with the serializer defined in the output."
        )
    if keep is dump:
        os.mkdir(filename)
    return PartitionedOutput(keep(os.path.join(filename, str(at)), part, serializer) for at, part in enumerate(value))
