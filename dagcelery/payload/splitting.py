"""A list of any length is split into sealed blocks while only a bounded part of it is in memory.

All blocks of a list have the same number of elements, so only its end tells which number is right: the
largest power of two up to 256 with which no block takes more than 64 KB and the largest element. Until then
the serialized elements wait in memory, and beyond a bound in a temporary file.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from types import TracebackType
from typing import IO, Any, Final

from dagcelery.errors import LimitExceeded, PayloadTooLarge, SerializationError
from dagcelery.payload import addresses
from dagcelery.payload.codecs import Codec
from dagcelery.payload.signing import Keyring
from dagcelery.payload.spill import Folder
from dagcelery.payload.values import DEFAULT_LIMITS, Limits, placed, seal_bytes, seal_items

LARGEST_BLOCK: Final = 256
BLOCK_BYTES: Final = 64 * 1024


def split_blocks(
    keyring: Keyring,
    codec: Codec,
    run_id: str,
    scope: str,
    token: str,
    attempt: int,
    values: Iterable[Any],
    *,
    culprit: str = "",
    limits: Limits = DEFAULT_LIMITS,
    folder: Folder | None = None,
) -> SplitList:
    """Serialize all of `values`, one after the other, and return them as a list split into sealed blocks.

    Large blocks go to `folder`.

    Raises SerializationError, LimitExceeded for more than ``limits.items`` elements, PayloadTooLarge for more
    than ``limits.payload_bytes`` in total, and whatever iterating raises.
    """
    name = culprit or addresses.readable(addresses.items(run_id, scope, token))
    spool = _Spool(name, limits)
    whole = isinstance(values, list | tuple) and _block_by_block(codec, values, spool)
    if not whole:
        spool = _Spool(name, limits)
        _one_by_one(codec, values, spool)
    block = LARGEST_BLOCK if whole else block_size(spool.sizes)
    parts = SplitList(keyring, codec, (run_id, scope, token), attempt, spool, block, whole)
    if folder is not None:
        parts.spill(folder)
    return parts


def block_size(sizes: Sequence[int]) -> int:
    """Return how many elements of these sizes in bytes go into each block of their list."""
    allowed = BLOCK_BYTES + max(sizes, default=0)
    sums = array("Q", accumulate(sizes, initial=0))
    block = LARGEST_BLOCK
    while block > 1:
        edges = [*sums[::block], sums[-1]]
        if all(hi - lo <= allowed for lo, hi in pairwise(edges)):
            break
        block //= 2
    return block


class SplitList:
    """A list in blocks: `count` elements, `block` of them a block.

    Iterating yields ``(lo, hi, stored)`` for each block in order, sealed at that moment.
    """

    def __init__(
        self,
        keyring: Keyring,
        codec: Codec,
        place: tuple[str, str, str],
        attempt: int,
        spool: _Spool,
        block: int,
        whole: bool,
    ) -> None:
        self.count = spool.count
        self.block = block
        self.attempt = attempt
        self._keyring = keyring
        self._codec = codec
        self._place = place
        self._spool = spool
        self._whole = whole
        self._files: dict[int, tuple[int, bytes]] = {}

    @property
    def sealed_items(self) -> bytes:
        """The sealed record of the list's length and its block size."""
        return seal_items(self._keyring, *self._place, self.attempt, self.count, self.block)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int, bytes]]:
        for lo, hi, address, body in self._bodies():
            attempt, found = self._files.get(lo, (self.attempt, body))
            yield lo, hi, seal_bytes(self._keyring, address, attempt, found)

    def _bodies(self) -> Iterator[tuple[int, int, bytes, bytes]]:
        parts = self._spool.parts()
        for lo in range(0, self.count, self.block):
            hi = min(lo + self.block, self.count)
            body = next(parts) if self._whole else self._codec.join(list(islice(parts, hi - lo)))
            yield lo, hi, addresses.block(*self._place, lo, hi), body

    def spill(self, folder: Folder) -> None:
        """Let large blocks go into files now: while blocks are stored it would be too late to say what is wrong."""
        for lo, _, address, body in self._bodies():
            if len(body) > folder.threshold:
                self._files[lo] = placed(self._codec, address, self.attempt, body, folder)

    def close(self) -> None:
        """Let go of the temporary file, if there is one; else that happens when nobody refers to the list."""
        self._spool.close()

    def __enter__(self) -> SplitList:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()


def _block_by_block(codec: Codec, values: Sequence[Any], spool: _Spool) -> bool:
    """Serialize 256 elements at a time, five times faster than one by one; give up at a block over 64 KB."""
    for lo in range(0, len(values), LARGEST_BLOCK):
        chunk = values[lo : lo + LARGEST_BLOCK]
        body = codec.dump_many(chunk, spool.culprit, lo)
        if len(body) > BLOCK_BYTES:
            return False
        spool.write(body, len(chunk))
    return True


def _one_by_one(codec: Codec, values: Iterable[Any], spool: _Spool) -> None:
    # What is not a list may make its elements on the way, each of them large: only one is held at a time.
    culprit, limit = spool.culprit, spool.limits.payload_bytes
    for value in values:
        try:
            spool.write(codec.dump(value, culprit, limit))
        except SerializationError as error:
            path = error.culprit[len(culprit) :].removeprefix(" at ")
            named = f"{culprit} at [{spool.count}]{path}"
            raise SerializationError(named, error.reason, error.remedy) from error.__cause__


class _Spool:
    """Parts of bytes, in order: in memory, and beyond a bound in a temporary file."""

    def __init__(self, culprit: str, limits: Limits) -> None:
        self.culprit = culprit
        self.limits = limits
        self.count = 0
        self.sizes = array("Q")
        self._bytes = 0
        self._kept: list[bytes] = []
        self._file: IO[bytes] | None = None

    def write(self, part: bytes, elements: int = 1) -> None:
        self.count += elements
        if self.count > self.limits.items:
            raise LimitExceeded(self.culprit, self.count, self.limits.items, "elements", "DAGCELERY_MAX_ITEMS")
        self._bytes += len(part)
        if self._bytes > self.limits.payload_bytes:
            raise PayloadTooLarge(self.culprit, self._bytes, self.limits.payload_bytes)
        self.sizes.append(len(part))
        self._kept.append(part)
        if self._bytes > self.limits.spool_bytes:
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 (read later, closed in close)
            self._file.writelines(self._kept)
            self._kept.clear()

    def parts(self) -> Iterator[bytes]:
        if self._file is None:
            yield from self._kept
            return
        at = 0
        for size in self.sizes:
            self._file.seek(at)
            yield self._file.read(size)
            at += size

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    __del__ = close
