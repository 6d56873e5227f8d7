"""Between stored bytes and values of Python: inputs of pieces are read here, and their outputs written.

What is read is verified at its address, decoded, and put where an expression wants it. What is written is serialized
output by output, and sealed at its address.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from inspect import GEN_CREATED, getgeneratorstate
from itertools import pairwise, repeat
from types import GeneratorType
from typing import Any, Final

from dagcelery import objects
from dagcelery.engine.run_view import UNREADABLE, RunView, located, missing
from dagcelery.errors import DeserializationError, PayloadTooLarge, SerializationError
from dagcelery.objects import ATOMS, copied
from dagcelery.payload import addresses, values
from dagcelery.payload.codecs import BytesCodec, Codec
from dagcelery.payload.lazy import LazyList
from dagcelery.payload.values import BLOCK_BYTES, SplitList
from dagcelery.planner.plan import Expr, Path, Step, StoredOutput, tokens
from dagcelery.planner.topology import MOST_INPUTS
from dagcelery.skipped import Skipped
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
    def elements(self, token: str, *, most: int) -> Any:
        """Return the elements of a list that is stored in blocks, as a lazy list if there are more than `most`."""
        scope, name = self.view.resolve(self.scope.id, token)
        count = self.view.count(scope, name)
        return self._list(scope, name, count, count > most)

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
        first, last = blocks[0].lo if blocks else hi, blocks[-1].hi if blocks else lo
        if first <= lo and hi <= last and all(block.hi == following.lo for block, following in pairwise(blocks)):
            items = [item for block in blocks for item in self._open(scope, token, block)]
            return items if len(items) == hi - lo else items[lo - first : hi - first]
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
        elif len(names) == 1:  # most fan-outs; it takes a third of the time
            [(name, expr)] = self._step.arguments
            for value in self._column(name, expr):
                yield {name: value}
        else:
            columns = [self._column(name, expr) for name, expr in self._step.arguments]
            for row in zip(*columns, strict=False):
                yield dict(zip(names, row, strict=True))

    def item(self, index: int) -> dict[str, Any]:
        """Return the keyword arguments of one item."""
        step, evaluate, element = self._step, self._reader.evaluate, partial(self._own_element, index)
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


class Blocks:
    """Blocks of lists, sealed as they are read; they can be read again, by a call that is repeated after an outage."""

    __slots__ = ("_lists",)

    def __init__(self) -> None:
        self._lists: list[tuple[str, SplitList]] = []

    def add(self, token: str, parts: SplitList) -> None:
        """Add the blocks of one list."""
        self._lists.append((token, parts))

    def __bool__(self) -> bool:
        return bool(self._lists)

    def __iter__(self) -> Iterator[Block]:
        for token, parts in self._lists:
            for lo, hi, data in parts:
                yield Block(token, lo, hi, parts.attempt, data)


@dataclass(slots=True)
class Sealed:
    """Outputs as the store takes them."""

    values: dict[str, bytes] = field(default_factory=dict)
    lists: dict[str, int] = field(default_factory=dict)
    blocks: Blocks = field(default_factory=Blocks)

    @property
    def outputs(self) -> dict[str, Any]:
        """The fields of a `TaskResult`."""
        return {"values": self.values, "lists": self.lists, "blocks": self.blocks}


@dataclass(frozen=True, slots=True)
class Parts:
    """Stands for a returned value: the parts of it that are outputs, by their paths."""

    by_path: Mapping[Path, Any]


@dataclass(slots=True)
class Dumped:
    """The result of an item of a fan-out as the bytes of each output: the object itself may change from then on."""

    parts: Sequence[bytes | Skipped]


_STAND_INS: Final = frozenset({Skipped, Parts})


class Writer:
    """Seals what belongs to one run, for one scope, as one attempt."""

    def __init__(self, view: RunView, scope: str, attempt: int) -> None:
        self._view = view
        self._scope = scope
        self._attempt = attempt

    def step_outputs(self, number: int, step: Step, returned: Any, culprit: str) -> Sealed:
        """Seal the outputs of a step that ran once."""
        sealed = Sealed()
        extracted: dict[Path, Any] = {}
        # What is read whole comes first: an iterator that cannot be written as what it is becomes a list then.
        for at in sorted(range(len(step.outputs)), key=lambda at: step.outputs[at].split):
            output, token = step.outputs[at], f"{number}.{at}"
            if output.path not in extracted:
                value = extract(returned, output)
                extracted[output.path] = objects.listed(value) if self._is_used_up(step, output, value) else value
            value, codec = extracted[output.path], self._view.program.codec(output.codec)
            name = f"output '{output.name}' of node '{culprit}'"
            if output.split:
                self.split(sealed, token, codec, value, name)
            elif type(value) is list and _has_twin(step, output):
                address = addresses.value(self._view.run_id, self._scope, token)
                sealed.values[token] = values.seal_split_mark(self._view.keyring, address, self._attempt)
            else:
                taken = self.taken(sealed, token, codec, value, name, is_declared=output.iterable)
                extracted[output.path] = taken
        return sealed

    def _is_used_up(self, step: Step, output: StoredOutput, value: Any) -> bool:
        """Return whether one of several outputs would use up an iterator, as a codec that writes its elements does, and
        leave nothing to the others.
        """
        if not isinstance(value, Iterator):
            return False
        codecs = [self._view.program.codec(each.codec) for each in step.outputs if each.path == output.path]
        return len(codecs) > 1 and not all(isinstance(codec, BytesCodec) for codec in codecs)

    def taken(
        self, sealed: Sealed, token: str, codec: Codec, value: Any, culprit: str, *, is_declared: bool = False
    ) -> Any:
        """Seal a whole value, and return it: the list of its elements instead where its codec refuses it, of an
        iterator, which can be read only once, or of another iterable if that was declared to be one.
        """
        try:
            self.whole(sealed, token, codec, value, culprit)
        except SerializationError:
            if not _is_listed(codec, value, is_declared=is_declared):
                raise
            value = objects.listed(value)
            self.whole(sealed, token, codec, value, culprit)
        return value

    def whole(self, sealed: Sealed, token: str, codec: Codec, value: Any, culprit: str) -> None:
        """Seal one value."""
        address = addresses.value(self._view.run_id, self._scope, token)
        if type(value) is Skipped:
            sealed.values[token] = values.seal_skipped(self._view.keyring, address, self._attempt, value)
            return
        sealed.values[token] = values.seal_value(
            self._view.keyring,
            codec,
            address,
            self._attempt,
            value,
            culprit=culprit,
            limits=self._view.limits,
            folder=self._view.folder,
        )

    def split(self, sealed: Sealed, token: str, codec: Codec, value: Any, culprit: str) -> None:
        """Seal the elements of an iterable in blocks, and its length beside them; a skipped value has none."""
        try:  # a list is taken as it is, since many of its elements are serialized at once
            elements = () if type(value) is Skipped else value if type(value) in (list, tuple) else iter(value)
        except TypeError:
            raise SerializationError(
                culprit,
                f"a fan-out runs over it, but it is of type {type(value).__name__}, which is not iterable",
                "return a list, or any other iterable",
            ) from None
        parts = values.split_blocks(
            self._view.keyring,
            codec,
            self._view.run_id,
            self._scope,
            token,
            self._attempt,
            elements,
            culprit=culprit,
            limits=self._view.limits,
            folder=self._view.folder,
        )
        sealed.lists[token] = parts.count
        sealed.values[token + "#"] = parts.sealed_items
        sealed.blocks.add(token, parts)

    def freezer(self, step: Step, locate: Callable[[int], str]) -> Callable[[int, Any], Any]:
        """Return a function that takes an item's index and result, and returns an immutable form of it for `items`."""
        outputs = [(output, self._view.program.codec(output.codec)) for output in step.outputs]

        def kept(index: int, returned: Any) -> Any:
            if objects.is_atom(returned) or type(returned) is Skipped:
                return returned
            return Dumped([_dumped(extract(returned, output), output, codec, index) for output, codec in outputs])

        def _dumped(value: Any, output: StoredOutput, codec: Codec, index: int) -> bytes | Skipped:
            if type(value) is Skipped:
                return value
            try:
                return codec.dump_part(value)
            except SerializationError:
                if _is_listed(codec, value, is_declared=output.iterable):
                    value = objects.listed(value)
                # Which says where it is what cannot be written.
                codec.dump_many([value], f"output '{output.name}' of node '{locate(index)}'", index)
                return codec.dump_part(value)

        return kept

    def items(self, number: int, step: Step, lo: int, returned: Sequence[Any], culprit: str) -> list[Block]:
        """Seal the results of items ``[lo, lo + len(returned))`` of a fan-out, in blocks of a cell or 64 KB."""
        blocks: list[Block] = []
        is_plain = not self._view.program.caches  # else parts may stand for a returned value
        is_dumped = any(type(value) is Dumped for value in returned)
        for at, output in enumerate(step.outputs):
            codec = self._view.program.codec(output.codec)
            column = returned
            if is_dumped:
                column = [_part(value, at, output, codec) for value in returned]
            elif output.path or not is_plain:
                column = [extract(value, output) for value in returned]
            for first, last in cells(lo, lo + len(returned)):
                part, name = column[first - lo : last - lo], f"output '{output.name}' of node '{culprit}'"
                blocks += self._blocks(f"{number}.{at}", codec, first, part, name, is_dumped=is_dumped)
        return blocks

    def _blocks(
        self, token: str, codec: Codec, lo: int, items: Sequence[Any], culprit: str, *, is_dumped: bool
    ) -> list[Block]:
        """Seal elements in blocks that hold few of them if they are large: to read one element is to read its block."""
        if self._view.program.may_skip and any(type(item) is Skipped for item in items):
            return [self.block(token, codec, lo + at, [item], culprit, is_dumped) for at, item in enumerate(items)]
        try:
            body = self._body(codec, items, lo, culprit, is_dumped)
        except PayloadTooLarge:
            if len(items) == 1:
                raise
            parts = 2
        else:
            if len(items) == 1 or len(body) <= BLOCK_BYTES:
                return [self._block(token, lo, lo + len(items), body)]
            parts = math.ceil(len(body) / BLOCK_BYTES)
        size = math.ceil(len(items) / parts)
        cut = [
            self._blocks(token, codec, lo + at, items[at : at + size], culprit, is_dumped=is_dumped)
            for at in range(0, len(items), size)
        ]
        return [block for blocks in cut for block in blocks]

    def _body(self, codec: Codec, items: Sequence[Any], lo: int, culprit: str, is_dumped: bool) -> bytes:
        if is_dumped:
            return values.join_block(codec, items, culprit, self._view.limits)
        return values.dump_block(codec, items, lo, culprit, self._view.limits)

    def block(
        self, token: str, codec: Codec, lo: int, items: Sequence[Any], culprit: str, is_dumped: bool = False
    ) -> Block:
        """Seal consecutive elements of a list together; one that was skipped stands alone."""
        if type(items[0]) is Skipped:
            return self.skipped(token, lo, items[0])
        return self._block(token, lo, lo + len(items), self._body(codec, items, lo, culprit, is_dumped))

    def _block(self, token: str, lo: int, hi: int, body: bytes) -> Block:
        view, address = self._view, addresses.block(self._view.run_id, self._scope, token, lo, hi)
        data = values.seal_body(view.keyring, address, self._attempt, body, view.folder)
        return Block(token, lo, hi, self._attempt, data)

    def skipped(self, token: str, index: int, skipped: Skipped) -> Block:
        """Seal what stands for one element that there is not."""
        run_id, attempt = self._view.run_id, self._attempt
        data = values.seal_skipped_block(self._view.keyring, run_id, self._scope, token, index, attempt, skipped)
        return Block(token, index, index + 1, attempt, data)


def extract(returned: Any, output: StoredOutput) -> Any:
    """Follow an output's path into a returned value. An error names the part that is missing."""
    if type(returned) in _STAND_INS:
        return returned.by_path[output.path] if type(returned) is Parts else returned
    value = returned
    for kind, name in output.path:
        try:
            value = value[name] if kind == "key" else getattr(value, str(name))
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise _no_such_output(output, kind, name, value) from error
    return value


def _no_such_output(output: StoredOutput, kind: str, name: str | int, value: Any) -> SerializationError:
    what = f"key {shown(name)}" if kind == "key" else f"attribute '{name}'"
    has = f"; it has the keys {sorted(map(str, value))[:10]}" if kind == "key" and isinstance(value, Mapping) else ""
    return SerializationError(
        f"output '{output.name}'",
        f"the function returned a {type(value).__name__} without the {what}{has}",
        "return a value that has it, or read another output",
    )


def _part(item: Any, at: int, output: StoredOutput, codec: Codec) -> bytes | Skipped:
    """Return the bytes of one output of an item, beside which others were dumped when they were returned."""
    if type(item) is Dumped:
        return item.parts[at]
    return item if type(item) is Skipped else codec.dump_part(extract(item, output))


def as_taken(codec: Codec, value: Any) -> Any:
    """Return what is written of a value: the list of its elements, if it is an iterator that the codec refuses."""
    if isinstance(value, Iterator):
        try:
            codec.dump(value)
        except SerializationError:
            return objects.listed(value) if _is_listed(codec, value) else value
    return value


def cells(lo: int, hi: int) -> Iterator[tuple[int, int]]:
    """Cut ``[lo, hi)`` at the multiples of CELL."""
    while lo < hi:
        upto = min(hi, (lo // CELL + 1) * CELL)
        yield lo, upto
        lo = upto


def _is_listed(codec: Codec, value: Any, *, is_declared: bool = False) -> bool:
    """Return whether a value that its codec refuses is written as the list of its elements.

    Its other readers make no difference. No element may be lost that the codec took before it gave up: our codecs take
    none.
    """
    if isinstance(value, Iterator):
        is_new = type(value) is GeneratorType and getgeneratorstate(value) == GEN_CREATED
        return is_new or isinstance(codec, BytesCodec)
    return is_declared and not isinstance(value, str | bytes | Mapping | Sequence)


def _has_twin(step: Step, output: StoredOutput) -> bool:
    return any(other.split and other.path == output.path for other in step.outputs)
