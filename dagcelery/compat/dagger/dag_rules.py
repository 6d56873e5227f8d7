"""The rules of py-dagger for a DAG and the nodes directly in it, in its words.

What it does not know, such as an element of a list as a source, is left to the rules of dagcelery.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from dagcelery.compat.dagger.input import validate_name as validate_input_name
from dagcelery.compat.dagger.old_texts import NODE_NAME, BrokenRule, WrongType, check_name, check_partition
from dagcelery.compat.dagger.output import validate_name as validate_output_name
from dagcelery.compat.dagger.serializer import DefaultSerializer
from dagcelery.model import EMPTY, FromNodeOutput, FromParam, Node, Source, fan_source
from dagcelery.model.graph import NO_NODES

_READ_ON: Final = (
    "Check the documentation to better understand how partitioning works: "
    "https://larribas.me/dagger/user-guide/partitioning/"
)


def check(
    nodes: Mapping[str, Node], inputs: Mapping[str, Source], outputs: Mapping[str, Source], partitioned: str | None
) -> None:
    """Raise BrokenRule or WrongType."""
    if not nodes:
        raise BrokenRule("", NO_NODES)
    for name in nodes:
        check_name("a node", "Node names", name, NODE_NAME)
    for name, source in inputs.items():
        validate_input_name(name)
        if not isinstance(source, Source):
            supported = "DAGs only support the following types of inputs: ['FromParam', 'FromNodeOutput']"
            raise WrongType("", f"Input '{name}' is of type '{type(source).__name__}'. However, {supported}")
    for name in outputs:
        validate_output_name(name)
    real = {name: node for name, node in nodes.items() if isinstance(node, Node)}
    for node_name, node in real.items():
        for name, source in node.inputs.items():
            _check_input(f"Error validating input '{name}' of node '{node_name}'", name, source, real, inputs)
    _check_outputs(real, outputs)
    check_partition("a DAG", partitioned, inputs)
    for name, node in real.items():
        for problem in _faults_of_partition(name, node, real):
            raise BrokenRule("", problem)


def _check_input(
    place: str, name: str, source: Source, nodes: Mapping[str, Node], inputs: Mapping[str, Source]
) -> None:
    if isinstance(source, FromParam):
        param = source.name or name
        if param not in inputs:
            if source.default_value is EMPTY:
                raise BrokenRule(
                    "",
                    f"{place}: This input depends on a parameter named '{param}' being injected into the DAG. However, "
                    "the DAG does not have any parameter with such a name. These are the parameters the DAG receives: "
                    f"{sorted(inputs)}",
                )
            return
        written, kind = inputs[param], "input"
    elif isinstance(source, FromNodeOutput):
        if problem := _not_there(source, nodes, "This input", "define"):
            raise BrokenRule("", f"{place}: {problem}")
        written, kind = nodes[source.node].outputs[source.output], "output"  # type: ignore[assignment]
    else:
        return
    here, there = (getattr(each, "serializer", None) or DefaultSerializer for each in (source, written))
    if here != there:
        problem = f"This input is serialized {here}. However, the {kind} it references is serialized {there}."
        raise BrokenRule("", f"{place}: {problem}")


def _not_there(source: FromNodeOutput, nodes: Mapping[str, Node], what: str, verb: str) -> str:
    """Return the problem of what reads an output that does not exist, if so."""
    if source.node not in nodes:
        return (
            f"{what} depends on the output of {'another' if verb == 'define' else 'a'} node named '{source.node}'. "
            f"However, the DAG does not {verb} any node with such a name. These are the nodes contained by the DAG: "
            f"{list(nodes)}"
        )
    outputs = nodes[source.node].outputs
    if source.output in outputs:
        return ""
    return (
        f"{what} depends on the output '{source.output}' of another node named '{source.node}'. However, node "
        f"'{source.node}' does not declare any output with such a name. These are the outputs defined by the node: "
        f"{list(outputs)}"
    )


def _check_outputs(nodes: Mapping[str, Node], outputs: Mapping[str, Source]) -> None:
    read = {name: source for name, source in outputs.items() if isinstance(source, FromNodeOutput)}
    for name, source in read.items():
        if problem := _not_there(source, nodes, f"Output '{name}'", "contain"):
            raise BrokenRule("", problem)
        if fan_source(nodes[source.node]) is not None:
            raise BrokenRule(
                "",
                f"Output '{name}' comes from an output of node '{source.node}'. Node '{source.node}' is partitioned. "
                "In Dagger, DAG outputs may not come from partitioned nodes. Check the documentation to better "
                "understand the motivation behind this limitation and how to overcome it: "
                "https://larribas.me/dagger/user-guide/map-reduce/"
                "#you-cannot-return-the-output-of-a-partitioned-node-from-a-dag.",
            )
    by_place: dict[tuple[str, str], str] = {}
    for name, source in read.items():
        other = by_place.setdefault((source.node, source.output), name)
        if other != name:
            raise BrokenRule(
                f"outputs '{other}' and '{name}', which are both output '{source.output}' of node '{source.node}'",
                "Multiple DAG outputs depend on the same node output. This is not a valid pattern in dagger due to the "
                "ambiguity and potential problems it may cause.",
            )


def _faults_of_partition(name: str, node: Node, nodes: Mapping[str, Node]) -> Iterator[str]:
    if not node.partition_by_input:
        return
    source = node.inputs[node.partition_by_input]
    start = f"Node '{name}' is partitioned by its input '{node.partition_by_input}'"
    if not isinstance(source, FromNodeOutput):
        yield (
            f"{start}. However, '{node.partition_by_input}' does not come from the output of another node. In Dagger, "
            f"nodes can only be partitioned by the output of another sibling node. {_READ_ON}"
        )
        return
    if fan_source(nodes[source.node]) is not None:
        yield (
            f"Node '{name}' is partitioned by an input that comes from the output of another node, '{source.node}'. "
            f"Node '{source.node}' is also partitioned. In Dagger, a node cannot be partitioned by the output of "
            f"another partitioned node. {_READ_ON}"
        )
    if not getattr(nodes[source.node].outputs[source.output], "is_partitioned", False):
        yield (
            f"{start}, which comes from the output '{source.output}' of node '{source.node}'. However, this output is "
            f"not partitioned. Dagger only allows you to partition by inputs that come from a partitioned output. "
            f"{_READ_ON}"
        )
