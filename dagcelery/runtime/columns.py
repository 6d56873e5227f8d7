"""The arguments of a range of a fan-out's items, read together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from typing import Any

from dagcelery.objects import ATOMS, copied
from dagcelery.planner.expressions import tokens
from dagcelery.planner.plan import Expr, Step
from dagcelery.runtime.reading import Reader


class Columns:
    """The arguments of a range of items. What is shared and could be changed by a call is read anew for each item."""

    def __init__(self, reader: Reader, step: Step, lo: int, hi: int) -> None:
        self._reader = reader
        self._step = step
        self.lo = lo
        self._hi = hi
        self._elements: dict[str, list[Any]] = {}
        # A call that changes an argument must not change another one that is read from the same element.
        read = Counter(token for _, expr in step.arguments for token, how in tokens(expr) if how == "each")
        self._shared = frozenset(token for token, count in read.items() if count > 1)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The keyword arguments of each item, in order."""
        names = [name for name, _ in self._step.arguments]
        if not names:
            yield from ({} for _ in range(self.lo, self._hi))
            return
        columns = [self._column(name, expr) for name, expr in self._step.arguments]
        for row in zip(*columns, strict=False):
            yield dict(zip(names, row, strict=True))

    def item(self, index: int) -> dict[str, Any]:
        """The keyword arguments of one item."""
        element = partial(self._element, index)
        return {name: self._reader.evaluate(expr, element) for name, expr in self._step.arguments}

    def _element(self, index: int, token: str) -> Any:
        return self._read(token)[index - self.lo]

    def _read(self, token: str) -> list[Any]:
        found = self._elements.get(token)
        if found is None:
            found = self._elements[token] = self._reader.column(token, self.lo, self._hi)
        return found

    def _column(self, name: str, expr: Expr) -> Iterator[Any]:
        lazy = name in self._step.lazy
        if expr[0] == "each":
            column = self._read(expr[1])
            return map(copied, column) if expr[1] in self._shared else iter(column)
        if expr[0] in ("ref", "lit"):
            value = self._reader.evaluate(expr, lazy=lazy)
            if type(value) in ATOMS:
                return repeat(value, self._hi - self.lo)
        elements = (partial(self._own_element, index) for index in range(self.lo, self._hi))
        return (self._reader.evaluate(expr, element, lazy=lazy) for element in elements)

    def _own_element(self, index: int, token: str) -> Any:
        element = self._element(index, token)
        return copied(element) if token in self._shared else element
