"""One node of a DAG by itself: where it stands, what it reads, in which bytes, and how its inputs are made of that.

A node that is run in a process of its own, by `invoke` or in a container, is given files: an input that is one value of
its DAG comes as that value's file, all others are made here of the values that their sources read. Which file holds
what follows from the DAG alone, so the process that writes it and the one that reads it need not agree on anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from dagcelery.errors import InvalidParameters, SerializationError
from dagcelery.model import (
    DAG,
    EMPTY,
    Choice,
    DagOptions,
    DictOf,
    Each,
    FromNodeOutput,
    FromParam,
    ListOf,
    Literal,
    Node,
    Part,
    Serializer,
    SetOf,
    Source,
    Splice,
    Task,
    TupleOf,
    fan_source,
)
from dagcelery.model.sources import PathStep, Readable, named, reads
from dagcelery.payload.codecs import AsJSON, AsPickle
from dagcelery.planner.compile import as_dag, default_of
from dagcelery.planner.pools import output_serializer
from dagcelery.skipped import Skipped
from dagcelery.text import choices, shown


@dataclass(frozen=True)
class EnclosingDag:
    """The DAG that a node stands in: `around` is the DAG that it is a node of itself, if it is."""

    dag: DAG
    around: EnclosingDag | None = None

    @property
    def serializer(self) -> Serializer | None:
        """The serializer of values that name none; None is the one of the settings."""
        return self.dag.options.serializer or (self.around.serializer if self.around else None)


def found_at(node: Node, address: str) -> tuple[Node, EnclosingDag | None]:
    """Return the node that ``a.b`` names in a DAG, and the DAG that it is a node of.

    Raises InvalidParameters.
    """
    place: EnclosingDag | None = None
    names = address.split(".")
    for depth, name in enumerate(names):
        culprit = f"node '{address}'"
        if isinstance(node, Task):
            inside = f"'{'.'.join(names[:depth])}'" if depth else "this"
            raise InvalidParameters(culprit, f"{inside} is a task, which has no nodes within", "name the task itself")
        if name not in node.nodes:
            inside = f"DAG '{'.'.join(names[:depth])}'" if depth else "this DAG"
            raise InvalidParameters(culprit, f"{inside} has no node '{name}'", choices(name, node.nodes))
        place, node = EnclosingDag(node, place), node.nodes[name]
    return node, place


def alone(node: Node, place: EnclosingDag | None) -> DAG:
    """Return a DAG that does what a node does, once. What it is given is read as the node's writers write it.

    A literal, or the default of an input, is the default of its parameter.
    """
    if place is None:
        return node if isinstance(node, DAG) else as_dag(node)
    inputs = {name: _parameter(source, name, place) for name, source in node.inputs.items()}
    if isinstance(node, DAG):
        options = DagOptions(serializer=node.options.serializer or place.serializer)
        return DAG(node.nodes, inputs, node.outputs, name=node.name, options=options, returns=node.returns)
    dag = as_dag(node)
    options = DagOptions(serializer=place.serializer)
    return DAG(dag.nodes, inputs, dag.outputs, name=dag.name, options=options)


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


def _parameter(source: Source, name: str, place: EnclosingDag) -> FromParam:
    default = default_of(source)
    if default is EMPTY and isinstance(source, FromParam):
        default = known(source, place, name)
    return FromParam(serializer=serializer_of(source, name, place), default_value=default)


def serializer_of(source: Source, name: str, place: EnclosingDag) -> Serializer | None:
    """Return how the value of an input is written in its DAG; None is as the settings say."""
    match source:
        case FromParam() | FromNodeOutput() if source.serializer is not None:
            return source.serializer
        case FromParam():
            return _of_parameter(source.name or name, place)
        case FromNodeOutput():
            return _of_output(source, place)
        case Each():
            return serializer_of(source.source, name, place)
        case _:
            # A serializer for one kind of object says nothing about what holds such objects.
            parts = [serializer_of(read, name, place) for read in reads(source)]
            is_plain = all(part in (None, AsJSON(), place.serializer) for part in parts)
            return place.serializer if is_plain else AsPickle()


def _of_parameter(name: str, place: EnclosingDag) -> Serializer | None:
    declared = place.dag.inputs.get(name)
    if declared is None or isinstance(declared, Literal):
        return place.serializer
    if place.around is not None:
        return serializer_of(declared, name, place.around)
    return getattr(declared, "serializer", None) or place.serializer


def _of_output(source: FromNodeOutput, place: EnclosingDag) -> Serializer | None:
    node = place.dag.nodes[source.node]
    if isinstance(node, Task):
        return output_serializer(node.outputs[source.output], node.options) or place.serializer
    return serializer_of(node.outputs[source.output], source.output, EnclosingDag(node, place))


# -- what a node reads ----------------------------------------------------------------------------
def label(read: Readable) -> str:
    """Return what a value is called that a node reads: ``load.return_value``, or a parameter's name."""
    return f"{read.node}.{read.output}" if isinstance(read, FromNodeOutput) else str(read.name)


def known(read: FromParam, place: EnclosingDag, name: str = "") -> object:
    """Return the value of a parameter that the DAG itself says, so that no file has it; else EMPTY.

    What a run may be given is not said by its default. A parameter without a name is called `name`.
    """
    name = read.name or name
    declared = place.dag.inputs.get(name)
    if declared is None:
        return read.default_value
    if isinstance(declared, Literal) and place.around is not None:
        return declared.value
    if isinstance(declared, FromParam) and place.around is not None:
        return known(declared, place.around, name)
    return EMPTY


def is_branch(read: Source, dag: DAG) -> bool:
    """Whether a value is there only if a condition holds; else it is None."""
    return isinstance(read, FromNodeOutput) and getattr(dag.nodes[read.node], "only_if", None) is not None


def is_made(source: Source, dag: DAG) -> bool:
    """Whether a value has no file of its own in `dag`, but is made of others, or may be absent there."""
    if isinstance(source, Each):
        return False
    return not isinstance(source, FromParam | FromNodeOutput) or is_branch(source, dag)


Reader: TypeAlias = Callable[[Readable, bool], Any]
"""Gives the value of what is read; where that is true, its element that belongs to this item."""


def made(source: Source, read: Reader, name: str) -> Any:
    """Return the value of a source; a parameter without a name is called `name`."""
    match source:
        case Literal():
            return source.value
        case FromParam() | FromNodeOutput():
            return read(named(source, name), False)
        case Each():
            return read(named(source.source, name), True)
        case Part():
            return _part(made(source.source, read, name), source.steps)
        case Choice():
            condition = made(source.condition, read, name)
            if isinstance(condition, Skipped):
                return condition
            return made(source.then if condition else source.otherwise, read, name)
        case ListOf():
            return [value for item in source.items for value in _elements(item, read, name)]
        case TupleOf():
            return tuple([made(item, read, name) for item in source.items])
        case SetOf():
            return {made(item, read, name) for item in source.items}
        case DictOf():
            return {key: made(value, read, name) for key, value in source.pairs}
        case _:
            raise AssertionError(source)


def _elements(item: Source | Splice, read: Reader, name: str) -> Iterator[Any]:
    if not isinstance(item, Splice):
        yield made(item, read, name)
        return
    lists: dict[Readable, Any] = {}

    def whole(source: Readable) -> Any:
        if source not in lists:
            lists[source] = read(named(source, name), False)
        return lists[source]

    for at in range(len(whole(item.over))):
        yield made(item.template, lambda source, is_item, at=at: whole(source)[at] if is_item else whole(source), name)  # type: ignore[misc]


def _part(value: Any, steps: tuple[PathStep, ...]) -> Any:
    if isinstance(value, Skipped):
        return value
    for kind, step in steps:
        try:
            value = value[step] if kind == "key" else getattr(value, str(step))
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            what = f"{kind} {shown(step)}"
            problem = f"is not in a value of type {type(value).__name__}"
            raise SerializationError(what, problem, "read what it has") from error
    return value
