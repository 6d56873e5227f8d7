"""One node of a DAG, however deep it is nested, becomes a DAG of its own: its inputs are the parameters."""

from __future__ import annotations

from dataclasses import dataclass

from dagcelery.errors import InvalidParameters
from dagcelery.model import (
    DAG,
    EMPTY,
    DagOptions,
    Each,
    FromNodeOutput,
    FromParam,
    Literal,
    Node,
    Serializer,
    Source,
    Task,
    fan_source,
)
from dagcelery.model.sources import reads
from dagcelery.payload.codecs import AsJSON, AsPickle
from dagcelery.planner.single import as_dag
from dagcelery.planner.tables import output_serializer
from dagcelery.text import choices


@dataclass(frozen=True)
class Place:
    """A DAG in the place where it is used: `around` is the DAG that it is a node of."""

    dag: DAG
    around: Place | None = None

    @property
    def serializer(self) -> Serializer | None:
        """The serializer of what names none; None is the one of the settings."""
        return self.dag.options.serializer or (self.around.serializer if self.around else None)


def found_at(node: Node, address: str) -> tuple[Node, Place | None]:
    """Return the node that ``a.b`` names in a DAG, and where it stands. Raises InvalidParameters."""
    place: Place | None = None
    names = address.split(".")
    for depth, name in enumerate(names):
        culprit = f"node '{address}'"
        if isinstance(node, Task):
            inside = f"'{'.'.join(names[:depth])}'" if depth else "this"
            raise InvalidParameters(culprit, f"{inside} is a task, which has no nodes within", "name the task itself")
        if name not in node.nodes:
            inside = f"DAG '{'.'.join(names[:depth])}'" if depth else "this DAG"
            raise InvalidParameters(culprit, f"{inside} has no node '{name}'", choices(name, node.nodes))
        place, node = Place(node, place), node.nodes[name]
    return node, place


def alone(node: Node, place: Place | None) -> DAG:
    """Return a DAG that does what a node does, once. What it is given is read as the node's writers write it.

    A literal, or the default of an input, is the default of its parameter.
    """
    if place is None:
        return node if isinstance(node, DAG) else as_dag(node)
    inputs = {name: _parameter(source, name, place) for name, source in node.inputs.items()}
    if isinstance(node, DAG):
        options = DagOptions(serializer=node.options.serializer or place.serializer)
        return DAG(node.nodes, inputs, node.outputs, name=node.name, options=options, returns=node.returns)
    made = as_dag(node)
    options = DagOptions(serializer=place.serializer)
    return DAG(made.nodes, inputs, made.outputs, name=made.name, options=options)


def is_partitioned(source: Source, dag: DAG) -> bool:
    """Whether an output of a DAG is a list that is made, or taken, by element."""
    if not isinstance(source, FromNodeOutput):
        return False
    node = dag.nodes[source.node]
    if fan_source(node) is not None:
        return True
    if isinstance(node, Task):
        return node.outputs[source.output].is_partitioned
    return is_partitioned(node.outputs[source.output], node)


def _parameter(source: Source, name: str, place: Place) -> FromParam:
    default = source.value if isinstance(source, Literal) else getattr(source, "default_value", EMPTY)
    return FromParam(None, _serializer(source, name, place), default)


def _serializer(source: Source, name: str, place: Place) -> Serializer | None:
    """How the value of an input is written in its DAG; None is as the settings say."""
    match source:
        case FromParam() | FromNodeOutput() if source.serializer is not None:
            return source.serializer
        case FromParam():
            return _of_parameter(source.name or name, place)
        case FromNodeOutput():
            return _of_output(source, place)
        case Each():
            return _serializer(source.source, name, place)
        case _:
            # A serializer for one kind of object says nothing about what holds such objects.
            parts = [_serializer(read, name, place) for read in reads(source)]
            is_plain = all(part in (None, AsJSON(), place.serializer) for part in parts)
            return place.serializer if is_plain else AsPickle()


def _of_parameter(name: str, place: Place) -> Serializer | None:
    declared = place.dag.inputs.get(name)
    if declared is None or isinstance(declared, Literal):
        return place.serializer
    if place.around is not None:
        return _serializer(declared, name, place.around)
    return getattr(declared, "serializer", None) or place.serializer


def _of_output(source: FromNodeOutput, place: Place) -> Serializer | None:
    node = place.dag.nodes[source.node]
    if isinstance(node, Task):
        return output_serializer(node.outputs[source.output], node.options) or place.serializer
    return _serializer(node.outputs[source.output], source.output, Place(node, place))
