"""Stored bytes become arguments: each is verified at its address, decoded, and put where an expression wants it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import repeat
from typing import Any

from dagcelery import objects
from dagcelery.engine.run_view import UNREADABLE, RunView, located, missing
from dagcelery.errors import DeserializationError, SerializationError
from dagcelery.objects import ATOMS, copied
from dagcelery.payload import addresses, values
from dagcelery.payload.lazy import LazyList
from dagcelery.payload.strict_json import Skipped
from dagcelery.planner.plan import Expr, Step, tokens
from dagcelery.planner.topology import MOST_INPUTS
from dagcelery.store.records import CELL, Block, Claim, Scope
from dagcelery.text import shown


def part_of(value: Any, path: Sequence[tuple[str, str | int]]) -> Any:
    """Return the part at `path` of a value. An error names the step that is missing."""
    if type(value) is Skipped:
        return value
    for kind, name in path:
        try:
            value = value[name] if kind == "key" else getattr(value, str(name))
        except (LookupError, TypeError, AttributeError) as error:
            raise DeserializationError(
                "an argument",
                f"it is read from a {type(value).__name__} without the {kind} {shown(name)}",
                "return a value that has it, or read another part",
            ) from error
    return value


def choice(condition: Any) -> tuple[list[bool], list[bool], Skipped | None]:
    """Return which branch is taken, as a list of one element and an empty one; both empty for a skipped condition."""
    if type(condition) is Skipped:
        return [], [], condition
    return ([True], [], None) if condition else ([], [True], None)


def copied_value(value: Any) -> Any:
    """Return a copy of a literal, so that no call sees what another one did to it."""
    try:
        return objects.copied(value)
    except Exception as error:  # __deepcopy__ and __reduce__ methods raise what they like
        remedy = "pass plain data, and open files, locks and connections where they are used"
        culprit = f"a literal of type {type(value).__name__}"
        raise SerializationError(culprit, f"cannot be copied: {error}", remedy) from error


class Reader:
    """The values of one scope, as an expression reads them. Values that came with `claim` need not be read again."""

    def __init__(self, view: RunView, scope: Scope, claim: Claim | None = None) -> None:
        self.view = view
        self.scope = scope
        self._claim = claim
        self._ahead: Mapping[str, bytes | None] = {}

    def read_ahead(self, exprs: Iterable[Expr]) -> None:
        """Read the whole values of expressions together, if they are so many that none travelled with the claim."""
        if self._claim is not None and self._claim.values:
            return
        wanted = [token for expr in exprs for token, reading in tokens(expr) if reading == "whole"]
        if len(wanted) > MOST_INPUTS:
            stored = self.view.store.reader.values(self.view.run_id, self.scope.id, wanted)
            self._ahead = dict(zip(wanted, stored, strict=True))

    # -- whole values -----------------------------------------------------------------------------
    def whole(self, token: str, *, lazy: bool = False) -> Any:
        """Return a whole value, decoded anew at each call; of a fan-out or split output the list of its elements."""
        scope, name = self.view.resolve(self.scope.id, token)
        over = self.view.list_over(scope, name)
        if over is not None:
            return self._list(scope, name, self.view.count(scope, over), lazy)
        codec, address = self.view.codec(scope, name), addresses.value(self.view.run_id, scope, name)
        stored = self._stored(token, scope, name)
        try:
            value = values.open_value(self.view.keyring, codec, address, stored, folder=self.view.folder)
        except UNREADABLE as error:
            raise located(self.view, error, scope, name) from error
        if value is values.SPLIT:
            twin = self._split_twin(scope, name)
            return self._list(scope, twin, self.view.count(scope, twin), lazy)
        return value

    def _stored(self, token: str, scope: str, name: str) -> bytes:
        stored = self._claim.values.get(token) if self._claim else None
        if stored is None:
            stored = self._ahead.get(token)
        if stored is None:
            stored = self.view.store.reader.values(self.view.run_id, scope, [name])[0]
        if stored is None:
            raise missing(self.view, scope, name)
        return stored

    def _split_twin(self, scope: str, name: str) -> str:
        if name.startswith("$"):
            return name
        step, output = name.split(".")
        outputs = self.view.body(scope).steps[int(step)].outputs
        path = outputs[int(output)].path
        return f"{step}." + str(next(i for i, o in enumerate(outputs) if o.split and o.path == path))

    def _list(self, scope: str, token: str, count: int, lazy: bool) -> Any:
        fetch = partial(self._elements, scope, token)
        return LazyList(count, fetch, CELL) if lazy else list(fetch(0, count))

    # -- elements ---------------------------------------------------------------------------------
    def column(self, token: str, lo: int, hi: int) -> list[Any]:
        """Return elements ``[lo, hi)`` of a list, or the results of those items of a fan-out."""
        if hi <= lo:
            return []
        scope, name = self.view.resolve(self.scope.id, token)
        travelled = self._claim.blocks.get(token) if self._claim else None
        if travelled is None:
            return list(self._elements(scope, name, lo, hi))
        return self._overlay(scope, name, lo, hi, travelled)

    def _elements(self, scope: str, token: str, lo: int, hi: int) -> Iterator[Any]:
        """Yield elements cell by cell, so that a list of any length takes the memory of a few blocks."""
        at = lo
        pending: list[Block] = []
        for block in self.view.store.reader.blocks(self.view.run_id, scope, token, lo, hi):
            if pending and block.lo >= max(b.hi for b in pending):
                upto = min(hi, max(b.hi for b in pending))
                yield from self._overlay(scope, token, at, upto, pending)
                at, pending = upto, []
            pending.append(block)
        if at < hi:
            yield from self._overlay(scope, token, at, hi, pending)

    def _overlay(self, scope: str, token: str, lo: int, hi: int, blocks: Sequence[Block]) -> list[Any]:
        """Decode blocks and lay those of later attempts over those of earlier ones."""
        if len(blocks) == 1 and blocks[0].lo == lo and blocks[0].hi == hi:
            return self._open(scope, token, blocks[0])
        laid: list[Any] = [_ABSENT] * (hi - lo)
        for block in sorted(blocks, key=lambda b: b.attempt):
            items = self._open(scope, token, block)
            first, last = max(lo, block.lo), min(hi, block.hi)
            if first < last:
                laid[first - lo : last - lo] = items[first - block.lo : last - block.lo]
        if any(item is _ABSENT for item in laid):
            gap = laid.index(_ABSENT)
            raise missing(self.view, scope, token, lo + gap, lo + gap + 1)
        return laid

    def _open(self, scope: str, token: str, block: Block) -> list[Any]:
        view = self.view
        codec, place = view.codec(scope, token), (view.run_id, scope, token, block.lo, block.hi)
        try:
            return values.open_block(view.keyring, codec, *place, block.data, folder=view.folder)
        except UNREADABLE as error:
            raise located(view, error, scope, token, block.lo, block.hi) from error

    # -- expressions ------------------------------------------------------------------------------
    def evaluate(self, expr: Expr, element: Callable[[str], Any] | None = None, *, lazy: bool = False) -> Any:
        """Return the value of an expression; `element` gives the value of an ``each`` for one item."""
        match expr[0]:
            case "lit" | "live":
                return copied_value(expr[1])
            case "blob":
                return self.view.program.literal(expr[1])
            case "ref":
                return self.whole(expr[1], lazy=lazy)
            case "each":
                assert element is not None, "an element is read within an item"
                return element(expr[1])
            case "part":
                return part_of(self.evaluate(expr[1], element), expr[2])
            case "choice":
                return choice(self.evaluate(expr[1], element))
            case "first":
                items = list(self._items(expr[1][1], element))
                return items[0] if items else self.evaluate(expr[2], element)
            case "dict":
                return {self.evaluate(k, element): self.evaluate(v, element) for k, v in expr[1]}
            case "tuple":
                return tuple(self._items(expr[1], element))
            case "set":
                return set(self._items(expr[1], element))
            case _:
                return list(self._items(expr[1], element))

    def _items(self, items: Sequence[Expr], element: Callable[[str], Any] | None) -> Iterator[Any]:
        for item in items:
            if item[0] == "splice":
                yield from self._splice(item[1], item[2])
            else:
                yield self.evaluate(item, element)

    def _splice(self, template: Expr, over: str) -> Iterator[Any]:
        """Return one element per item of `over`; the columns are read a cell at a time."""
        count = self.view.count(self.scope.id, over)
        names = sorted({token for token, reading in tokens(template, spliced=True) if reading == "spliced"})
        for lo in range(0, count, CELL):
            hi = min(lo + CELL, count)
            # With a claim travel the elements of the step's own items, and not those that are wanted here.
            columns = {n: list(self._elements(*self.view.resolve(self.scope.id, n), lo, hi)) for n in names}
            for at in range(hi - lo):
                row = {name: column[at] for name, column in columns.items()}
                yield self.evaluate(template, row.__getitem__)


_ABSENT = object()


class Rows:
    """The keyword arguments of each item of a range, or of a step that runs once, in order.

    A value that several calls share, and could change, is read anew for each of them.
    """

    def __init__(self, reader: Reader, step: Step, lo: int, hi: int) -> None:
        self._reader = reader
        self._step = step
        self._lo = lo
        self._hi = hi
        self._elements: dict[str, list[Any]] = {}

    @cached_property
    def _shared(self) -> frozenset[str]:
        """A call that changes an argument must not change another one that is read from the same element."""
        read = Counter(token for _, expr in self._step.arguments for token, how in tokens(expr) if how == "each")
        return frozenset(token for token, count in read.items() if count > 1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = [name for name, _ in self._step.arguments]
        if self._lo < 0:
            self._reader.read_ahead(expr for _, expr in self._step.arguments)
            yield self.item(-1)
        elif not names:
            yield from ({} for _ in range(self._lo, self._hi))
        else:
            columns = [self._column(name, expr) for name, expr in self._step.arguments]
            for row in zip(*columns, strict=False):
                yield dict(zip(names, row, strict=True))

    def item(self, index: int) -> dict[str, Any]:
        """Return the keyword arguments of one item."""
        step, evaluate, element = self._step, self._reader.evaluate, partial(self._element, index)
        return {name: evaluate(expr, element, lazy=name in step.lazy) for name, expr in step.arguments}

    def _element(self, index: int, token: str) -> Any:
        return self._read(token)[index - self._lo]

    def _read(self, token: str) -> list[Any]:
        column = self._elements.get(token)
        if column is None:
            column = self._elements[token] = self._reader.column(token, self._lo, self._hi)
        return column

    def _column(self, name: str, expr: Expr) -> Iterator[Any]:
        lazy = name in self._step.lazy
        if expr[0] == "each":
            column = self._read(expr[1])
            return map(copied, column) if expr[1] in self._shared else iter(column)
        if expr[0] in ("ref", "lit"):
            value = self._reader.evaluate(expr, lazy=lazy)
            if type(value) in ATOMS:
                return repeat(value, self._hi - self._lo)
        elements = (partial(self._own_element, index) for index in range(self._lo, self._hi))
        return (self._reader.evaluate(expr, element, lazy=lazy) for element in elements)

    def _own_element(self, index: int, token: str) -> Any:
        element = self._element(index, token)
        return copied(element) if token in self._shared else element
