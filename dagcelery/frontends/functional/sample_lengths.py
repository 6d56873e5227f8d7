"""How many elements iterated lists have in each sample run of a body.

Apart from the trace, which asks for lengths, and from building, which chooses them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

# How many loops a list lies in, and its number among those that are iterated there.
Position: TypeAlias = tuple[int, int]

# Where more lists are iterated in one place, every sixth of them has the same length.
_MOST_ALONE: Final = 6


@dataclass(frozen=True, slots=True)
class SampleLengths:
    """How many elements iterated lists have while a body runs; `text` says so in an error.

    All have `length`, but for the one at the position `odd`, if that is given: it has `odd_length`.
    """

    text: str
    length: int
    odd: Position | None = None
    odd_length: int = 0

    def of(self, position: Position) -> int:
        """Return the length of the list at `position`."""
        return self.odd_length if _grouped(position) == self.odd else self.length


THREE: Final = SampleLengths("three elements", 3)


def other_samples(positions: Collection[Position]) -> Iterator[SampleLengths]:
    """Yield the lengths of further sample runs of a body that iterated lists at these positions."""
    if not positions:
        return
    yield SampleLengths("two elements", 2)
    yield SampleLengths("one element", 1)
    yield SampleLengths("no element", 0)
    groups = sorted({_grouped(position) for position in positions})
    for odd in groups:
        yield SampleLengths("five elements in one of its lists, two in others,", 2, odd, 5)
        if len(groups) > 1:
            yield SampleLengths("no element in one of its lists, two in others,", 2, odd, 0)


def _grouped(position: Position) -> Position:
    depth, number = position
    return depth, number % _MOST_ALONE
