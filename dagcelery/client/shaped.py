"""The result of a nested DAG with items, or of a branch, put together from the parts of it that are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from dagcelery.engine.io import Reader, Rows
from dagcelery.engine.run_view import RunView
from dagcelery.errors import ValueFreed
from dagcelery.payload.lazy import LazyList
from dagcelery.planner.plan import Expr, Path, Step, tokens
from dagcelery.planner.shapes import OUTPUT
from dagcelery.store.records import Spot

LISTED: Final = 1_000
"""Results of a fan-out that are read at once; a longer list is read as it is asked for."""


def only_parts(address: str, parts: Sequence[str]) -> ValueFreed:
    """Return the error of a result of which only `parts` are stored."""
    there = ", ".join(parts[:12]) + ", ..." * (len(parts) > 12) if parts else "none"
    problem = f"is not stored as a whole; of its parts are stored: {there}"
    return ValueFreed(f"the result of node {address}", problem, "return all of it from the DAG")


def path_text(path: Path) -> str:
    """Return how a part is read in Python: ``["a"][0]``."""
    return "".join(f"[{name!r}]" if kind == "key" else f".{name}" for kind, name in path)


class Shaped:
    """The value of a place whose step enters a body, in the shape that its DAG gives back."""

    def __init__(self, view: RunView, spot: Spot, step: Step, address: str) -> None:
        self._view, self._spot, self._step, self._address = view, spot, step, address
        self._reader = Reader(view, view.scope(spot.scope))
        self._outputs = {OUTPUT + output.name: f"{spot.step}.{at}" for at, output in enumerate(step.outputs)}
        self._arguments = {f"${name}" for name, _ in step.arguments}

    def value(self) -> Any:
        """Return it: of one item, or the list of those of several; a long one is read as it is asked for.

        Raises ValueFreed where a part of it is not stored.
        """
        shape = self._view.program.body(self._step.target).returns
        if shape is None or not all(self._is_there(token) for token, _ in tokens(shape)):
            names = [output.name for output in self._step.outputs] if shape is None else self._parts_there(shape)
            raise only_parts(self._address, names)
        if "branch" in self._step.options:
            return next(self._items(shape, 0, 1))
        if self._spot.lo >= 0:
            items = list(self._items(shape, self._spot.lo, self._spot.hi))
            return items[0] if self._spot.hi == self._spot.lo + 1 else items
        assert self._step.over is not None, "what runs once has no body of its own"
        count, fetch = self._view.count(self._spot.scope, self._step.over), partial(self._items, shape)
        return LazyList(count, fetch) if count > LISTED else list(fetch(0, count))

    def _parts_there(self, shape: Expr) -> list[str]:
        parts = [(path, token) for path, token in _leaves(shape) if self._is_there(token)]
        return [path or "all of it" for path, _ in parts]

    def _is_there(self, token: str) -> bool:
        if token.startswith("^"):
            scope, name = self._view.resolve(self._spot.scope, token[1:])
            return any(param.whole and f"${param.name}" == name for param in self._view.body(scope).params)
        return token in self._outputs or token in self._arguments

    def _items(self, shape: Expr, lo: int, hi: int) -> Iterator[Any]:
        """Return the values of items one by one."""
        wanted = {token for token, _ in tokens(shape)}
        columns = {
            token: self._reader.column(self._outputs[token], lo, hi) for token in wanted if token in self._outputs
        }
        rows = Rows(self._reader, self._step, lo, hi)
        for index in range(lo, hi):
            # One argument may be large, and all are read together: only where the shape has some.
            arguments = rows.item(index) if wanted & self._arguments else {}
            yield self._reader.evaluate(shape, partial(self._part, columns, arguments, index - lo))

    def _part(self, columns: Mapping[str, list[Any]], arguments: Mapping[str, Any], at: int, token: str) -> Any:
        if token.startswith("^"):
            return self._reader.whole(token[1:])
        return columns[token][at] if token in columns else arguments[token[1:]]


def _leaves(shape: Expr, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield where in a value each of its parts lies, and its token."""
    if shape[0] == "each":
        yield path, shape[1]
    elif shape[0] == "dict":
        for key, item in shape[1]:
            yield from _leaves(item, f"{path}[{key[1]!r}]")
    elif shape[0] in ("list", "tuple", "set"):
        for at, item in enumerate(shape[1]):
            yield from _leaves(item, f"{path}[{at}]")
