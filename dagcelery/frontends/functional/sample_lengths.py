"""How many elements iterated lists have each time that a body is tried.

Apart from the trace, which asks for lengths, and from building, which chooses them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

# How many loops a list lies in, and the how manieth it is among those that are iterated there.
Position: TypeAlias = tuple[int, int]


# Bodies that iterate more lists in one place have them tried in groups.
_MOST_ALONE: Final = 6


@dataclass(frozen=True, slots=True)
class Probes:
    """How many elements iterated lists have while a body runs; `told` says so in an error.

    All have `length`, but for the one at the position `odd`, if that is given: it has `odd_length`.
    """

    told: str
    length: int
    odd: Position | None = None
    odd_length: int = 0

    @property
    def tells_elements_apart(self) -> bool:
        """Whether a list of all elements looks different from a list of one."""
        return self.length > 1

    def of(self, position: Position) -> int:
        """Return the length of the list at `position`."""
        return self.odd_length if _grouped(position) == self.odd else self.length


THREE: Final = Probes("three elements", 3)


def others(positions: Collection[Position]) -> Iterator[Probes]:
    """Yield what a body is tried with once more if it iterated lists at these positions."""
    if not positions:
        return
    yield Probes("two elements", 2)
    yield Probes("one element", 1)
    yield Probes("no element", 0)
    groups = sorted({_grouped(position) for position in positions})
    for odd in groups:
        yield Probes("five elements in one of its lists, two in others,", 2, odd, 5)
        if len(groups) > 1:
            yield Probes("no element in one of its lists, two in others,", 2, odd, 0)


def _grouped(position: Position) -> Position:
    depth, number = position
    return depth, number % _MOST_ALONE
