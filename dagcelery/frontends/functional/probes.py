"""A body is tried with lists of several lengths, chosen so that what depends on a length gives itself away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_LENGTHS: Final = 4


@dataclass(frozen=True, slots=True)
class Probes:
    """How many elements each iterated list has while a body runs; `told` says so in an error.

    Lists at the top have `outer` elements, lists within a loop have `inner`. With `step` no two lists that
    are near each other have the same number: each next one has so many more, up to four lengths in turn.
    """

    outer: int
    inner: int
    told: str
    step: int = 0

    @property
    def tells_elements_apart(self) -> bool:
        """Whether a list of all elements looks different from a list of one."""
        return self.outer > 1

    def of(self, depth: int, number: int) -> int:
        """Return the length of the list that is the `number`-th at `depth` loops within others."""
        return (self.inner if depth else self.outer) + self.step * ((number + 3 * depth) % _LENGTHS)


THREE: Final = Probes(3, 3, "three elements")
TWO: Final = Probes(2, 2, "two elements")
ONE: Final = Probes(1, 1, "one element")
NONE: Final = Probes(0, 0, "no element")
HOLLOW: Final = Probes(2, 0, "no element in inner lists")
FALLING: Final = Probes(5, 5, "five elements in one list, four in another", step=-1)
RISING: Final = Probes(2, 2, "two elements in one list, three in another", step=1)


def others(depths: Sequence[int]) -> Iterator[Probes]:
    """Yield what a body is tried with once more if it iterated lists that lie within so many loops."""
    if depths:
        yield from (TWO, ONE, NONE, FALLING)
    if len(depths) > 1:
        yield RISING
    if any(depths):
        yield HOLLOW
