"""Outputs of the body around it that a branch of `when` uses become parameters of the branch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from dagcelery.frontends.functional.outputs import Output, Recorder, flat, ref_of, trace_of
from dagcelery.frontends.functional.recorded import Parameter, Ref, Result
from dagcelery.model.nodes import UniqueNames, valid
from dagcelery.model.sources import Source
from dagcelery.objects import cell_contents

CONDITION: Final = "condition"
"""The parameter that says which branch is taken."""


class Captures:
    """Outputs of `outer`, or of bodies around it, that the branches of one `when` use; the same for all their traces.

    `outputs` are those outputs, or lists of them, by their names in the branches; `upstream` is what nodes in these
    come after.
    """

    def __init__(self, outer: Recorder, branches: Sequence[object]) -> None:
        self.outer = outer
        self._held = [value for branch in branches for value in _held(branch) if type(value) is list]
        self.outputs: dict[str, object] = {}
        self.upstream: list[Output] = []
        self._names = UniqueNames([CONDITION])
        self._name_of: dict[tuple[int, Ref], str] = {}
        self._lists: list[tuple[object, Source, str]] = []

    def name(self, output: Output) -> str:
        """Return the name of an output in the branches."""
        key = id(trace_of(output)), ref_of(output)
        if key not in self._name_of:
            name = self._name_of[key] = self._names.give(_base_name(output))
            self.outputs[name] = output
        return self._name_of[key]

    def name_of_list(self, values: list[object], source: Source) -> str:
        """Return the name of a list in the branches, which `source` is in the body around."""
        is_held = any(values is held for held in self._held)
        for known, other, name in self._lists:
            if known is values if is_held else other == source:
                return name
        name = self._names.give("items")
        self._lists.append((values if is_held else None, source, name))
        self.outputs[name] = values
        return name

    def is_list_from_around(self, values: list[object], branch: Recorder) -> bool:
        """Whether a list is of outputs from around the branch; one without elements may have some another time."""
        found = [trace_of(leaf) for leaf in flat(values) if isinstance(leaf, Output)]
        if not all(map(branch.is_within, found)):
            return False
        if any(values is held for held in self._held):
            return bool(found) or not values
        return any(isinstance(value, Output) for value in values)

    def handed_up(self, upstream: object, branch: Recorder) -> list[object]:
        """Return what a node of `branch` comes after there; what is outside of it, all of the branch comes after."""
        found = list(flat(upstream))
        outside = [each for each in found if isinstance(each, Output) and branch.is_within(trace_of(each))]
        self.upstream += [each for each in outside if not any(each is known for known in self.upstream)]
        return [each for each in found if not any(each is other for other in outside)]


def _held(branch: object) -> Iterator[object]:
    """Yield what a function captures, and its defaults."""
    for cell in getattr(branch, "__closure__", None) or ():
        yield from cell_contents(cell)
    yield from getattr(branch, "__defaults__", None) or ()


def _base_name(output: Output) -> str:
    base = ref_of(output).base
    if isinstance(base, Parameter):
        return base.name
    return valid(trace_of(output).calls[base.call].callee.name) if isinstance(base, Result) else "item"
