"""Returned values become stored bytes here: each output is serialized on its own and sealed at its address."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dagcelery.errors import PayloadTooLarge, SerializationError
from dagcelery.payload import addresses, splitting, values
from dagcelery.payload.codecs import Codec
from dagcelery.payload.skipped import Skipped
from dagcelery.payload.splitting import BLOCK_BYTES, SplitList
from dagcelery.payload.values import Limits
from dagcelery.planner.plan import Output, Path, Step
from dagcelery.runtime.reading import RunView
from dagcelery.store.base import CELL, Block
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


@dataclass(frozen=True, slots=True)
class Parts:
    """Stands for what a function returned: those parts of it that are outputs, by their paths."""

    by_path: Mapping[Path, Any]


_STAND_INS: Final = frozenset({Skipped, Parts})


class Writer:
    """Seals what belongs to one run, for one scope, as one attempt."""

    def __init__(self, view: RunView, scope: str, attempt: int, limits: Limits) -> None:
        self._view = view
        self._scope = scope
        self._attempt = attempt
        self._limits = limits

    def step_outputs(self, sealed: Sealed, number: int, step: Step, returned: Any, culprit: str) -> None:
        """Seal the outputs of a step that ran once."""
        extracted: dict[tuple[tuple[str, str | int], ...], Any] = {}
        for at, output in enumerate(step.outputs):
            if output.path not in extracted:
                value = extract(returned, output)
                # An iterator can be read once: where it is read whole and split, it is listed first.
                listed = isinstance(value, Iterator) and _is_read_twice(step, output)
                extracted[output.path] = list(value) if listed else value
            value = extracted[output.path]
            token = f"{number}.{at}"
            who = f"output '{output.name}' of node '{culprit}'"
            if output.split:
                self.split(sealed, token, self._view.program.codec(output.codec), value, who)
            elif type(value) is list and _has_twin(step, output):
                address = addresses.value(self._view.run_id, self._scope, token)
                sealed.values[token] = values.seal_split_mark(self._view.keyring, address, self._attempt)
            else:
                iterable = output.iterable or _has_twin(step, output)
                self._whole_or_listed(sealed, token, output, value, who, iterable=iterable)

    def _whole_or_listed(
        self, sealed: Sealed, token: str, output: Output, value: Any, culprit: str, *, iterable: bool
    ) -> None:
        """Seal a whole value; an iterable of one's own, which the codec refuses, as the list of its elements."""
        codec = self._view.program.codec(output.codec)
        try:
            self.whole(sealed, token, codec, value, culprit)
        except SerializationError:
            if not iterable or isinstance(value, (str, bytes, Mapping, Sequence)):
                raise
            self.whole(sealed, token, codec, list(value), culprit)

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
            limits=self._limits,
            folder=self._view.folder,
        )

    def split(self, sealed: Sealed, token: str, codec: Codec, value: Any, culprit: str) -> None:
        """Seal the elements of an iterable in blocks, and its length beside them; what was skipped has none."""
        try:
            elements = iter(() if type(value) is Skipped else value)
        except TypeError:
            raise SerializationError(
                culprit,
                f"a fan-out runs over it, but it is of type {type(value).__name__}, which is not iterable",
                "return a list, or any other iterable",
            ) from None
        parts = splitting.split_blocks(
            self._view.keyring,
            codec,
            self._view.run_id,
            self._scope,
            token,
            self._attempt,
            elements,
            culprit=culprit,
            limits=self._limits,
            folder=self._view.folder,
        )
        sealed.lists[token] = parts.count
        sealed.values[token + "#"] = parts.sealed_items
        sealed.blocks.add(token, parts)

    def items(self, number: int, step: Step, lo: int, returned: Sequence[Any], culprit: str) -> list[Block]:
        """Seal the results of items ``[lo, lo + len(returned))`` of a fan-out, in blocks of a cell or 64 KB."""
        made = []
        is_whole = not self._view.program.caches  # else parts may stand for what was returned
        for at, output in enumerate(step.outputs):
            column = returned if is_whole and not output.path else [extract(value, output) for value in returned]
            codec = self._view.program.codec(output.codec)
            for first, last in cells(lo, lo + len(returned)):
                part, who = column[first - lo : last - lo], f"output '{output.name}' of node '{culprit}'"
                made += self._blocks(f"{number}.{at}", codec, first, part, who)
        return made

    def _blocks(self, token: str, codec: Codec, lo: int, items: Sequence[Any], culprit: str) -> list[Block]:
        """Whoever reads one element reads its block: of large elements a block holds few."""
        if self._view.program.may_skip and any(type(item) is Skipped for item in items):
            return [self.block(token, codec, lo + at, [item], culprit) for at, item in enumerate(items)]
        try:
            body = values.dump_block(codec, items, lo, culprit, self._limits)
        except PayloadTooLarge:
            if len(items) == 1:
                raise
            parts = 2
        else:
            if len(items) == 1 or len(body) <= BLOCK_BYTES:
                return [self._block(token, codec, lo, lo + len(items), body)]
            parts = math.ceil(len(body) / BLOCK_BYTES)
        size = math.ceil(len(items) / parts)
        cut = [self._blocks(token, codec, lo + at, items[at : at + size], culprit) for at in range(0, len(items), size)]
        return [block for blocks in cut for block in blocks]

    def block(self, token: str, codec: Codec, lo: int, items: Sequence[Any], culprit: str) -> Block:
        """Seal consecutive elements of a list together; one that was skipped stands alone."""
        if type(items[0]) is Skipped:
            return self.skipped(token, lo, items[0])
        body = values.dump_block(codec, items, lo, culprit, self._limits)
        return self._block(token, codec, lo, lo + len(items), body)

    def _block(self, token: str, codec: Codec, lo: int, hi: int, body: bytes) -> Block:
        view, address = self._view, addresses.block(self._view.run_id, self._scope, token, lo, hi)
        data = values.seal_body(view.keyring, codec, address, self._attempt, body, view.folder)
        return Block(token, lo, hi, self._attempt, data)

    def skipped(self, token: str, index: int, skipped: Skipped) -> Block:
        """Seal what stands for one element that there is not."""
        run_id, attempt = self._view.run_id, self._attempt
        data = values.seal_skipped_block(self._view.keyring, run_id, self._scope, token, index, attempt, skipped)
        return Block(token, index, index + 1, attempt, data)


def extract(returned: Any, output: Output) -> Any:
    """Follow an output's path into a returned value; a step that is missing is named."""
    if type(returned) in _STAND_INS:
        return returned.by_path[output.path] if type(returned) is Parts else returned
    value = returned
    for kind, name in output.path:
        try:
            value = value[name] if kind == "key" else getattr(value, str(name))
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise _no_such_output(output, kind, name, value) from error
    return value


def _no_such_output(output: Output, kind: str, name: str | int, value: Any) -> SerializationError:
    what = f"key {shown(name)}" if kind == "key" else f"attribute '{name}'"
    has = f"; it has the keys {sorted(map(str, value))[:10]}" if kind == "key" and isinstance(value, Mapping) else ""
    return SerializationError(
        f"output '{output.name}'",
        f"the function returned a {type(value).__name__} without the {what}{has}",
        "return a value that has it, or read another output",
    )


def cells(lo: int, hi: int) -> Iterator[tuple[int, int]]:
    """Cut ``[lo, hi)`` at the multiples of CELL."""
    while lo < hi:
        upto = min(hi, (lo // CELL + 1) * CELL)
        yield lo, upto
        lo = upto


def _is_read_twice(step: Step, output: Output) -> bool:
    return sum(other.path == output.path for other in step.outputs) > 1


def _has_twin(step: Step, output: Output) -> bool:
    return any(other.split and other.path == output.path for other in step.outputs)
