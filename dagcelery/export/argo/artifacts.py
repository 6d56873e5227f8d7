"""What of a DAG travels: which values a node reads, which it gives, and which of them may be absent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dagcelery.client.standalone import EnclosingDag, is_branch, is_made, known
from dagcelery.export.argo.identifiers import Names
from dagcelery.model import DAG, EMPTY, Each, FromNodeOutput, FromParam, Literal, Node, Source, Task, fan_source
from dagcelery.model.graph import Root
from dagcelery.model.sources import Readable, Splice, named, parts
from dagcelery.payload.codecs import AsJSON


@dataclass(frozen=True)
class Taken:
    """An input of a template: `option` says in the container what it is, `name` whose."""

    artifact: str
    option: str
    name: str
    extension: str
    source: Readable
    is_item: bool
    is_optional: bool = False


@dataclass(frozen=True)
class Kept:
    """An output of a template."""

    name: str
    artifact: str
    extension: str
    is_split: bool = False


# -- sources --------------------------------------------------------------------------------------
def reads(source: Source | Splice, name: str) -> Iterator[tuple[Readable, bool]]:
    """Yield what a source reads, and whether only the element that belongs to the item."""
    if isinstance(source, FromParam | FromNodeOutput):
        yield named(source, name), False
    elif isinstance(source, Each):
        yield named(source.source, name), True
    elif isinstance(source, Splice):  # its elements are taken out of whole lists
        yield from ((read, False) for part in parts(source) for read, _ in reads(part, name))
    else:
        for part in parts(source):
            yield from reads(part, name)


def is_by_item(name: str, node: Node) -> bool:
    """Whether an input is the element that belongs to the item."""
    return name == node.partition_by_input or isinstance(node.inputs[name], Each)


def is_put_together(name: str, node: Node, place: EnclosingDag) -> bool:
    """Whether an input is made of several values, or of one that may be absent; a task takes an empty list as such."""
    source = node.inputs[name]
    if isinstance(source, Literal) or is_by_item(name, node):
        return False
    is_gathered = isinstance(node, DAG) and isinstance(source, FromNodeOutput)
    return is_made(source, place.dag) or (is_gathered and may_be_absent(source, place.dag))


def may_be_absent(read: Source, dag: DAG) -> bool:
    """Whether there may be no file: of a branch that was not taken, or of a list without elements."""
    if not isinstance(read, FromNodeOutput):
        return False
    return is_branch(read, dag) or fan_source(dag.nodes[read.node]) is not None


def is_known(source: Source, place: EnclosingDag) -> bool:
    """Whether the DAG itself says a value, so that it need not travel."""
    return isinstance(source, FromParam) and known(source, place) is not EMPTY


def is_split(root: Root, dag: DAG) -> bool:
    """Whether a list lies in a folder whose ``partitions.json`` is an output parameter of the node."""
    node = dag.nodes.get(root[0])
    if node is None or fan_source(node) is not None or getattr(node, "only_if", None) is not None:
        return False
    if isinstance(node, Task):
        return node.outputs[root[1]].is_partitioned
    source = node.outputs[root[1]]
    first = next(name for name, each in node.outputs.items() if each == source) == root[1]
    return first and isinstance(source, FromNodeOutput) and is_split((source.node, source.output), node)


def root(read: Readable) -> Root:
    """Return what is read, as lists are named that nodes go through."""
    return (read.node, read.output) if isinstance(read, FromNodeOutput) else ("", read.name or "")


def reads_plainly(source: Source, node: str, output: str) -> bool:
    """Whether a source is this output of this node, and nothing else."""
    return isinstance(source, FromNodeOutput) and (source.node, source.output) == (node, output)


def is_direct(name: str, dag: DAG, *, is_top: bool) -> bool:
    """Whether the node that makes an output of a DAG writes it where the DAG around wants it."""
    source = dag.outputs[name]
    if not isinstance(source, FromNodeOutput) or may_be_absent(source, dag):
        return False
    same = (each for each, other in dag.outputs.items() if reads_plainly(other, source.node, source.output))
    return next(same) == name and (not is_top or is_of_a_task(source, dag))


def is_of_a_task(source: Source, dag: DAG) -> bool:
    """Whether a task makes a value, so that its file is as the DAG's serializers say."""
    if not isinstance(source, FromNodeOutput) or may_be_absent(source, dag):
        return False
    node = dag.nodes[source.node]
    return isinstance(node, Task) or is_of_a_task(node.outputs[source.output], node)


# -- files ----------------------------------------------------------------------------------------
def extension(serializer: object) -> str:
    """Return the ending of the names of files that a serializer writes; None is JSON."""
    return re.sub(r"[^A-Za-z0-9.]", "_", str(getattr(serializer or AsJSON(), "extension", "")))


def file(kept: Kept) -> str:
    """Return the name of the file of an output."""
    return f"{kept.artifact}.{kept.extension}"


def given_path(kept: Kept) -> str:
    """Return the reference to the key that the DAG around has chosen for an output."""
    return f"{{{{inputs.parameters.{kept.artifact}_output_path}}}}"


def named_artifacts(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield names, each with that of its artifact."""
    given = Names("_")
    for name in names:
        yield name, given.give(name)
