"""Rules of py-dagger that dagcelery does not have, for programs that rely on them; they raise InvalidDag."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.model import FromNodeOutput, FromParam, ListOf, Literal, Source, Splice, Task, TupleOf, fan_source
from dagcelery.model.sources import own_items

if TYPE_CHECKING:
    from dagcelery.model import DAG, Node

NODE_NAME: Final = "^[a-zA-Z0-9][a-zA-Z0-9-]{0,63}$"
NAME: Final = "^[a-zA-Z0-9][a-zA-Z0-9-_]{0,63}$"

_SAY_NATIVELY: Final = "build it with dagcelery's own dag and task, where it may be"


def check_name(kind: str, kinds: str, name: str, regex: str = NAME) -> None:
    """Refuse a name that py-dagger would not allow."""
    if not re.match(regex, name):
        raise InvalidDag(f"'{name}' is not a valid name for {kind}", f"{kinds} must comply with the regex {regex}")


def check_task(task: Task) -> None:
    """Check a task by itself, without its siblings."""
    _check_names(task)
    if task.partition_by_input and isinstance(task.inputs[task.partition_by_input], FromParam):
        raise InvalidDag(
            f"This node is partitioned by input '{task.partition_by_input}', which comes from a parameter",
            "nodes may only be partitioned by the output of another node",
            _SAY_NATIVELY,
        )


def check_dag(dag: DAG) -> None:
    """Check a DAG and the nodes directly in it."""
    _check_names(dag)
    for name, node in dag.nodes.items():
        check_name("a node", "Node names", name, NODE_NAME)
        if node.partition_by_input:
            _check_partition(name, node, dag)
    for name, source in dag.outputs.items():
        if isinstance(source, FromNodeOutput) and _is_partitioned(dag.nodes[source.node]):
            raise InvalidDag(
                f"Output '{name}' comes from an output of node '{source.node}'. Node '{source.node}' is partitioned",
                "outputs of a DAG may not come from partitioned nodes",
                _SAY_NATIVELY,
            )
    sources = list(dag.outputs.values())
    if any(source in sources[:at] for at, source in enumerate(sources)):
        raise InvalidDag(
            "Multiple DAG outputs depend on the same node output", "each may be given back once", _SAY_NATIVELY
        )


def check_arguments(node: Node) -> str | None:
    """Check the call of a node in a DAG's body; return the input that it is partitioned by, if any."""
    for name, source in node.inputs.items():
        if isinstance(source, ListOf | TupleOf) and any(isinstance(i, FromNodeOutput | Splice) for i in source.items):
            kind = "list" if isinstance(source, ListOf) else "tuple"
            raise InvalidDag(
                f"Argument '{name}' of type '{kind}' is invalid",
                "it may only contain literal values, or the same output of a partitioned node",
                _SAY_NATIVELY,
            )
    items = {name: read for name, source in node.inputs.items() for read in own_items(source)}
    if len(items) > 1:
        raise InvalidDag(
            f"The following inputs to this node are partitioned: {sorted(items)}",
            "nodes may only be partitioned by one of their inputs",
            _SAY_NATIVELY,
        )
    for name, read in items.items():
        if isinstance(read, FromParam):
            raise InvalidDag(
                f"Iterating over the value of parameter '{read.name}', or over a partition",
                f"makes input '{name}' be partitioned, but only the output of another node can be",
                _SAY_NATIVELY,
            )
    return next(iter(items), None)


def check_returned(source: Source, dag: DAG) -> None:
    """Check one output that a DAG's body returned: it must be that of a node which is not partitioned."""
    if isinstance(source, FromNodeOutput) and not _is_partitioned(dag.nodes[source.node]):
        return
    if isinstance(source, Literal):
        kind = type(source.value).__name__
    else:
        kind = "list" if isinstance(source, FromNodeOutput | ListOf) else type(source).__name__
    raise InvalidDagType(
        f"This DAG returned a value of type {kind}",
        "functions decorated with `dsl.DAG` may only return the output of another node, or a mapping of such outputs",
        _SAY_NATIVELY,
    )


def _check_names(node: Node) -> None:
    for name in node.inputs:
        check_name("an input", "Inputs", name)
    for name in node.outputs:
        check_name("an output", "Outputs", name)


def _is_partitioned(node: Node) -> bool:
    return fan_source(node) is not None


def _check_partition(name: str, node: Node, dag: DAG) -> None:
    source = node.inputs[node.partition_by_input or ""]
    start = f"Node '{name}' is partitioned by its input '{node.partition_by_input}'"
    if not isinstance(source, FromNodeOutput):
        problem = f"'{node.partition_by_input}' does not come from the output of another node"
        raise InvalidDag(start, problem, _SAY_NATIVELY)
    other = dag.nodes[source.node]
    if _is_partitioned(other):
        raise InvalidDag(start, f"it comes from node '{source.node}', which is also partitioned", _SAY_NATIVELY)
    if not getattr(other.outputs[source.output], "is_partitioned", False):
        problem = f"it comes from the output '{source.output}' of node '{source.node}', which is not partitioned"
        raise InvalidDag(start, problem, _SAY_NATIVELY)
