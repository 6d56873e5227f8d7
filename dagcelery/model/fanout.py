"""Which list a node runs once per item of, and whether two such lists have the same items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from dagcelery.model.sources import Each, FromNodeOutput, FromParam, Readable, own_items

if TYPE_CHECKING:
    from dagcelery.model.graph import DAG, Node

Root: TypeAlias = tuple[str, str]


def fan_source(node: Node) -> Readable | None:
    """Return the source that `node` runs once per item of; None if it runs once.

    It may be the output of a fan-out: then `node` runs once per item of whatever that one runs over.
    """
    return next(fan_sources(node), None)


def fan_sources(node: Node) -> Iterator[Readable]:
    """Yield every source that `node` takes by item; all of them must have the same items."""
    if node.over is not None:
        yield node.over
    for name, source in node.inputs.items():
        if name == node.partition_by_input and not isinstance(source, Each):
            if isinstance(source, FromParam | FromNodeOutput):
                yield named(source, name)
        else:
            for read in own_items(source):
                yield named(read, name)


def named(read: Readable, input_name: str) -> Readable:
    """Return `read` with the name that a nameless parameter takes from its input."""
    if isinstance(read, FromParam) and read.name is None:
        return replace(read, name=input_name)
    return read


def roots(dag: DAG) -> dict[str, Root]:
    """Return for each fan-out of `dag` where its items come from: (node, output) or ("", parameter)."""
    found: dict[str, Root] = {}
    for layer in dag.node_execution_order:
        for name in layer:
            source = fan_source(dag.nodes[name])
            if source is not None:
                found[name] = root(source, found)
    return found


def root(source: Readable, known: Mapping[str, Root]) -> Root:
    """Return where the items of `source` come from; `known` are the roots of the nodes before it."""
    if isinstance(source, FromParam):
        return "", source.name or ""
    return known.get(source.node, (source.node, source.output))
