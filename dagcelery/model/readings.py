"""What a node reads: found in one walk over its sources when it is made, since rules and the planner ask often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from dagcelery.model.sources import (
    Choice,
    Each,
    FromNodeOutput,
    FromParam,
    Literal,
    Readable,
    Source,
    Splice,
    named,
    own_items,
    walk,
)

Name: TypeAlias = "str | None"
"""That of an input or an output; None for `over` of a node, and for what a DAG returns."""


class Readings(NamedTuple):
    """What stands in some sources, each with the name of its source; `items` are read by item outside of splices."""

    reads: tuple[tuple[Name, Readable], ...]
    items: tuple[Readable, ...]
    splices: tuple[tuple[Name, Splice], ...]
    choices: tuple[Choice, ...]


class _Reader:
    """Notes what it finds in sources."""

    def __init__(self) -> None:
        self.reads: list[tuple[Name, Readable]] = []
        self.items: list[Readable] = []
        self.splices: list[tuple[Name, Splice]] = []
        self.choices: list[Choice] = []

    def look_into(self, name: Name, source: Source) -> None:
        """Note what stands in a source."""
        for part in walk(source):
            if isinstance(part, FromParam | FromNodeOutput):
                self.reads.append((name, part))
            elif isinstance(part, Splice):
                self.splices.append((name, part))
            elif isinstance(part, Choice):
                self.choices.append(part)

    def found(self) -> Readings:
        """Return all that was found."""
        return Readings(tuple(self.reads), tuple(self.items), tuple(self.splices), tuple(self.choices))


def readings_of_inputs(inputs: Mapping[str, Source], partition_by: Name, over: Readable | None) -> Readings:
    """Return what a node reads. Parameters without a name are called like their inputs.

    `over` is taken by item, and so is the input `partition_by`.
    """
    reader = _Reader()
    if over is not None:
        reader.items.append(over)
    for name, source in inputs.items():
        is_item = isinstance(source, Each)
        read = source.source if isinstance(source, Each) else source
        if isinstance(read, FromNodeOutput | FromParam):  # as most are
            read = named(read, name)
            reader.reads.append((name, read))
            if is_item or name == partition_by:
                reader.items.append(read)
        elif not isinstance(read, Literal):
            first = len(reader.reads)
            reader.look_into(name, source)
            reader.reads[first:] = [(name, named(each, name)) for _, each in reader.reads[first:]]
            if name != partition_by:
                reader.items += [named(each, name) for each in own_items(source)]
    if over is not None:
        reader.reads.append((None, over))
    return reader.found()


def readings_of_outputs(outputs: Mapping[str, Source], returns: Source | None) -> Readings:
    """Return what a DAG gives back."""
    reader = _Reader()
    for name, source in outputs.items():
        reader.look_into(name, source)
    if returns is not None:
        reader.look_into(None, returns)
    return reader.found()
