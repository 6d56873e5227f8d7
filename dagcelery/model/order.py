"""Which nodes must have finished before a node may start, and the order that follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from dagcelery.errors import CyclicDependency
from dagcelery.model.sources import FromNodeOutput, Readable, reads

if TYPE_CHECKING:
    from dagcelery.model.graph import Node


def dependencies(node: Node) -> set[str]:
    """Return the names of the siblings that `node` waits for: those it reads, and those it comes after."""
    return {read.node for read in read_by(node) if isinstance(read, FromNodeOutput)} | set(node.after)


def read_by(node: Node) -> Iterator[Readable]:
    """Yield every parameter and output that `node` reads."""
    for source in node.inputs.values():
        yield from reads(source)
    if node.over is not None:
        yield node.over


def layers(needs: Mapping[str, set[str]]) -> list[set[str]]:
    """Group names so that each needs only earlier groups; raise CyclicDependency if that cannot be."""
    needed_by: dict[str, list[str]] = {name: [] for name in needs}
    for name, needed in needs.items():
        for other in needed:
            needed_by[other].append(name)
    missing = {name: len(needed) for name, needed in needs.items()}
    layer = {name for name, count in missing.items() if not count}
    result: list[set[str]] = []
    while layer:
        result.append(layer)
        layer = set(_now_complete(layer, needed_by, missing))
    stuck = {name: needs[name] for name, count in missing.items() if count}
    if stuck:
        raise CyclicDependency(_circle(stuck))
    return result


def _now_complete(done: set[str], needed_by: Mapping[str, list[str]], missing: dict[str, int]) -> Iterator[str]:
    for name in done:
        for waiting in needed_by[name]:
            missing[waiting] -= 1
            if not missing[waiting]:
                yield waiting


def _circle(stuck: Mapping[str, set[str]]) -> list[str]:
    path = [min(stuck)]
    while True:
        # Every stuck node needs a stuck one, so that this walk must come back to where it was.
        following = min(name for name in stuck[path[-1]] if name in stuck)
        if following in path:
            return path[path.index(following) :]
        path.append(following)
