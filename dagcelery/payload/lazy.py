"""A LazyList reads a long list bit by bit, as often as asked, and never holds more than one window of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")

Fetch = Callable[[int, int], Iterable[T]]
"""Yields the elements ``[lo, hi)`` in order, reading them as they are asked for."""


class LazyList(Sequence[T], Generic[T]):
    """A list of `count` elements that ``fetch(lo, hi)`` yields; it can be iterated any number of times.

    Iterating takes the memory of what `fetch` holds. Indexing reads the `block` elements around the index and
    keeps them until another block is asked for. A slice is a LazyList again and reads nothing by itself.
    """

    __slots__ = ("_block", "_fetch", "_indexes", "_kept")

    def __init__(self, count: int, fetch: Fetch[T], block: int = 256) -> None:
        self._indexes = range(count)
        self._fetch = fetch
        self._block = block
        self._kept: tuple[int, list[T]] = (0, [])

    def __len__(self) -> int:
        return len(self._indexes)

    def __iter__(self) -> Iterator[T]:
        indexes = self._indexes
        if indexes.step == 1:
            yield from self._fetch(indexes.start, indexes.stop) if indexes else ()
            return
        # Windows of `block` positions in the underlying list, whatever the step's size and direction.
        size = max(1, self._block // abs(indexes.step))
        for at in range(0, len(indexes), size):
            wanted = indexes[at : at + size]
            lo = min(wanted[0], wanted[-1])
            window = list(self._fetch(lo, max(wanted[0], wanted[-1]) + 1))
            yield from (window[index - lo] for index in wanted)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> LazyList[T]: ...
    def __getitem__(self, index: int | slice) -> T | LazyList[T]:
        if isinstance(index, slice):
            part = LazyList(0, self._fetch, self._block)
            part._indexes = self._indexes[index]
            return part
        try:
            at = self._indexes[index]
        except IndexError:
            raise IndexError(f"index {index} is outside of a list of {len(self):,} elements") from None
        return self._at(at)

    def _at(self, index: int) -> T:
        first, kept = self._kept
        if not first <= index < first + len(kept):
            first = index - index % self._block
            last = max(self._indexes[0], self._indexes[-1])
            kept = list(self._fetch(first, min(first + self._block, last + 1)))
            self._kept = (first, kept)
        return kept[index - first]

    def __reversed__(self) -> Iterator[T]:
        return iter(self[::-1])

    def __eq__(self, other: object) -> bool:
        """Compare with a list or LazyList, element by element."""
        if not isinstance(other, list | LazyList):
            return NotImplemented
        if len(self) != len(other):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        # The place that it reads from stays behind: a copy is a plain list.
        return (list, (list(self),))

    def __repr__(self) -> str:
        return f"<LazyList of {len(self):,} elements>"
