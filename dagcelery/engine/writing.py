"""Returned values become stored bytes here: each output is serialized on its own and sealed at its address."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import GEN_CREATED, getgeneratorstate
from types import GeneratorType
from typing import Any, Final

from dagcelery import objects
from dagcelery.engine.run_view import RunView
from dagcelery.errors import PayloadTooLarge, SerializationError
from dagcelery.payload import addresses, values
from dagcelery.payload.codecs import BytesCodec, Codec
from dagcelery.payload.strict_json import Skipped
from dagcelery.payload.values import BLOCK_BYTES, SplitList
from dagcelery.planner.plan import Path, Step, StoredOutput
from dagcelery.store.records import CELL, Block
from dagcelery.text import shown


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
        try:
            elements = iter(() if type(value) is Skipped else value)
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
