"""What a branch of `when` uses of the body around it, its free variables, become parameters of the branch."""

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


class FreeVariables:
    """Outputs of `outer`, or of bodies around it, that the branches of one `when` use; the same for all their traces.

    `outputs` are those outputs, or lists of them, by their names in the branches; `upstream` is what nodes in these
    come after.
    """

    def __init__(self, outer: Recorder, branches: Sequence[object]) -> None:
        self.outer = outer
        self._lists_around = [value for branch in branches for value in _values_around(branch) if type(value) is list]
        self.outputs: dict[str, object] = {}
        self.upstream: list[Output] = []
        self._names = UniqueNames([CONDITION])
        self._name_of: dict[tuple[int, Ref], str] = {}
        self._named_lists: list[tuple[object, Source, str]] = []

    def name(self, output: Output) -> str:
        """Return the name of an output in the branches."""
        key = id(trace_of(output)), ref_of(output)
        if key not in self._name_of:
            name = self._name_of[key] = self._names.give(_base_name(output))
            self.outputs[name] = output
        return self._name_of[key]

    def name_of_list(self, values: list[object], source: Source) -> str:
        """Return the name of a list in the branches, which `source` is in the body around."""
        is_around = self._is_around(values)
        for named, other, name in self._named_lists:
            if named is values if is_around else other == source:
                return name
        name = self._names.give("items")
        self._named_lists.append((values if is_around else None, source, name))
        self.outputs[name] = values
        return name

    def is_list_from_around(self, values: list[object], branch: Recorder) -> bool:
        """Whether a list is of outputs from around the branch; one without elements may have some another time."""
        traces = [trace_of(leaf) for leaf in flat(values) if isinstance(leaf, Output)]
        if not all(map(branch.is_within, traces)):
            return False
        if self._is_around(values):
            return bool(traces) or not values
        return any(isinstance(value, Output) for value in values)

    def handed_up(self, upstream: object, branch: Recorder) -> list[object]:
        """Return what a node of `branch` comes after there; what is outside of it, all of the branch comes after."""
        inside: list[object] = []
        for value in flat(upstream):
            if not isinstance(value, Output) or not branch.is_within(trace_of(value)):
                inside.append(value)
            elif not any(value is other for other in self.upstream):
                self.upstream.append(value)
        return inside

    def _is_around(self, values: list[object]) -> bool:
        return any(values is each for each in self._lists_around)


def _values_around(branch: object) -> Iterator[object]:
    """Yield what a function finds in its closure, and its defaults."""
    for cell in getattr(branch, "__closure__", None) or ():
        yield from cell_contents(cell)
    yield from getattr(branch, "__defaults__", None) or ()


def _base_name(output: Output) -> str:
    base = ref_of(output).base
    if isinstance(base, Parameter):
        return base.name
    return valid(trace_of(output).calls[base.call].callee.name) if isinstance(base, Result) else "item"
