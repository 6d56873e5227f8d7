"""Values are stored sealed at an address: whole, or as a list split into blocks of elements.

What is stored begins with the number of the attempt that wrote it, 4 bytes in clear, since a reader cannot
know it beforehand; it is signed together with the address. The body of a whole value begins with a mark:
``V``: the serialized value follows; ``F``: it is kept in a file, and a reference follows; ``L``: the value is a list,
which is stored split beside it; ``S``: it was skipped. Blocks have no mark: that of a single skipped element has the
attempt's highest bit set, one that is kept in a file the third.

A list is split into blocks of the same number of elements, a power of two up to 256, so that a reader finds
an element without an index. The length and that number are sealed in a record of their own.

A list of any length is split into sealed blocks while only a bounded part of it is in memory.

All blocks of a list have the same number of elements, so only its end tells which number is right: the
largest power of two up to 256 with which no block takes more than 64 KB and the largest element. Until then
the serialized elements wait in memory, and beyond a bound in a temporary file.
"""

from __future__ import annotations

import io
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from typing import IO, Any, Final

from dagcelery.errors import DeserializationError, LimitExceeded, PayloadTooLarge, SerializationError
from dagcelery.payload import addresses, signing, spill
from dagcelery.payload.addresses import Culprit
from dagcelery.payload.codecs import Bytes, Codec, bounded
from dagcelery.payload.signing import Keyring
from dagcelery.payload.spill import Folder, Reference
from dagcelery.skipped import Skipped

_ATTEMPT_BYTES: Final = 4

_VALUE: Final = b"V"

_LIST: Final = b"L"

_SKIPPED: Final = b"S"

_SPILLED: Final = b"F"

_SKIPPED_BIT: Final = 1 << 31

_SPILLED_BIT: Final = 1 << 29
"""Not the one between: what begins with ``@`` means something else to the store."""

SPLIT: Final = object()
"""Given back for a list whose elements are stored split."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large things may be: bytes of one value (a list counts whole), elements of one list, and bytes of
    a list being split that are kept in memory before a temporary file takes over."""

    payload_bytes: int = 512 * 1024 * 1024
    items: int = 1_000_000
    spool_bytes: int = 8 * 1024 * 1024


DEFAULT_LIMITS: Final = Limits()


def seal_bytes(keyring: Keyring, address: bytes, attempt: int, *body: Bytes) -> bytes:
    """Seal bytes of our own: a plan, a failure, a record."""
    context = addresses.attempted(address, attempt)
    return keyring.seal(context, *body, prefix=attempt.to_bytes(_ATTEMPT_BYTES, "big"))


def open_bytes(keyring: Keyring, address: bytes, stored: bytes) -> tuple[int, Bytes]:
    """Return the attempt and the body that `seal_bytes` sealed for this address, else raise BadSignature."""
    attempt = int.from_bytes(stored[:_ATTEMPT_BYTES], "big")
    return attempt, keyring.open(addresses.attempted(address, attempt), stored, _ATTEMPT_BYTES)


def key_of(stored: bytes) -> str:
    """Return the id of the key that sealed what `seal_bytes` made, "" if none did; nothing is verified for that."""
    return signing.key_of(stored, _ATTEMPT_BYTES)


def seal_value(
    keyring: Keyring,
    codec: Codec,
    address: bytes,
    attempt: int,
    value: Any,
    *,
    culprit: str = "",
    limits: Limits = DEFAULT_LIMITS,
    folder: Folder | None = None,
) -> bytes:
    """Serialize and seal one value; `culprit` names it in errors, else its address does. A large one goes to `folder`.

    Raises SerializationError, PayloadTooLarge above ``limits.payload_bytes``, or SpillUnavailable.
    """
    name = culprit or address
    if folder is None:
        body = codec.dump(value, name, limits.payload_bytes)
    else:
        body = _spilled(codec, folder, address, attempt, value, name, limits.payload_bytes)
    return seal_bytes(keyring, address, attempt, _SPILLED if type(body) is Reference else _VALUE, body)


def _spilled(
    codec: Codec, folder: Folder, address: bytes, attempt: int, value: Any, culprit: Culprit, limit: int
) -> bytes:
    """Return `value` as bytes, or the Reference to them; what a serializer writes bit by bit stays on disk."""
    with codec.stream(value, culprit, limit) as content:
        if content.seek(0, io.SEEK_END) > folder.threshold:
            return folder.put(address, attempt, content)
        content.seek(0)
        return content.read()


def seal_split_mark(keyring: Keyring, address: bytes, attempt: int) -> bytes:
    """Seal the note that the value of this address is a list which is stored split."""
    return seal_bytes(keyring, address, attempt, _LIST)


def seal_skipped(keyring: Keyring, address: bytes, attempt: int, skipped: Skipped) -> bytes:
    """Seal the note that a whole value was skipped."""
    return seal_bytes(keyring, address, attempt, _SKIPPED, skipped.encode())


def open_value(
    keyring: Keyring,
    codec: Codec,
    address: bytes,
    stored: bytes,
    *,
    culprit: str = "",
    folder: Folder | None = None,
) -> Any:
    """Verify and return one value, or SPLIT where its elements are stored instead.

    Raises BadSignature before anything is decoded, and DeserializationError; of a value that is kept in a file
    SpillDamaged before anything is decoded, SpillUnavailable, and NotConfigured where no `folder` is given.
    """
    attempt, body = open_bytes(keyring, address, stored)
    mark = body[:1]
    if mark == _VALUE:
        return codec.load(body[1:], culprit or address)
    if mark == _LIST:
        return SPLIT
    if mark == _SPILLED:
        name = culprit or address
        with spill.reading(folder, address, attempt, body[1:], name) as file:
            return codec.read(file, name)
    if mark == _SKIPPED:
        return Skipped.decode(body[1:])
    raise DeserializationError(
        addresses.named(culprit or address),
        f"begins with {bytes(mark)!r}, which no value does",
        "use the same version of dagcelery on the client and its workers",
    )


def dump_block(codec: Codec, items: Sequence[Any], lo: int, culprit: Culprit, limits: Limits) -> bytes:
    """Serialize elements of a list from index `lo` on, to be sealed together. Raises PayloadTooLarge."""
    return bounded(codec.dump_many(items, culprit, lo), culprit, limits.payload_bytes)


def join_block(codec: Codec, parts: Sequence[bytes], culprit: Culprit, limits: Limits) -> bytes:
    """Return what `dump_block` makes of elements that were dumped to `parts`. Raises PayloadTooLarge."""
    return bounded(codec.join(parts), culprit, limits.payload_bytes)


def seal_body(keyring: Keyring, address: bytes, attempt: int, body: bytes, folder: Folder | None) -> bytes:
    """Seal the serialized elements of a block; many bytes go to `folder`."""
    return seal_bytes(keyring, address, *_placed(address, attempt, body, folder))


def _placed(address: bytes, attempt: int, body: bytes, folder: Folder | None) -> tuple[int, bytes]:
    """Put the serialized elements of a block where they belong: what is to be sealed of them, as which attempt."""
    if folder is None or len(body) <= folder.threshold:
        return attempt, body
    attempt |= _SPILLED_BIT
    return attempt, folder.put(address, attempt, io.BytesIO(body))


def open_block(
    keyring: Keyring,
    codec: Codec,
    run_id: str,
    scope: str,
    token: str,
    lo: int,
    hi: int,
    stored: bytes,
    folder: Folder | None = None,
) -> list[Any]:
    """Verify and return the elements ``[lo, hi)`` of a list. Raises what `open_value` raises."""
    address = addresses.block(run_id, scope, token, lo, hi)
    attempt, body = open_bytes(keyring, address, stored)
    if attempt & _SKIPPED_BIT:
        return [Skipped.decode(body)]
    if attempt & _SPILLED_BIT:
        with spill.reading(folder, address, attempt, body, address) as file:
            body = file.read()
    return codec.load_many(body, hi - lo, address)


def seal_skipped_block(
    keyring: Keyring, run_id: str, scope: str, token: str, index: int, attempt: int, skipped: Skipped
) -> bytes:
    """Seal the note that one element was skipped."""
    address = addresses.block(run_id, scope, token, index, index + 1)
    return seal_bytes(keyring, address, attempt | _SKIPPED_BIT, skipped.encode())


def is_skipped(stored: bytes) -> bool:
    """Return whether a block stands for an element that was skipped; nothing is verified for that."""
    return bool(int.from_bytes(stored[:_ATTEMPT_BYTES], "big") & _SKIPPED_BIT)


def seal_items(keyring: Keyring, run_id: str, scope: str, token: str, attempt: int, count: int, block: int) -> bytes:
    """Seal the record that says how a list is split."""
    body = json.dumps({"n": count, "block": block}).encode()
    return seal_bytes(keyring, addresses.items(run_id, scope, token), attempt, body)


def open_items(keyring: Keyring, run_id: str, scope: str, token: str, stored: bytes) -> int:
    """Verify the record that says how a list is split, and return how many elements it has."""
    _, body = open_bytes(keyring, addresses.items(run_id, scope, token), stored)
    count: int = json.loads(bytes(body))["n"]
    return count


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

    def __iter__(self) -> Iterator[tuple[int, int, bytes]]:
        for lo, hi, address, body in self._bodies():
            attempt, content = self._files.get(lo, (self.attempt, body))
            yield lo, hi, seal_bytes(self._keyring, address, attempt, content)

    def _bodies(self) -> Iterator[tuple[int, int, bytes, bytes]]:
        parts = self._spool.parts()
        for lo in range(0, self.count, self.block):
            hi = min(lo + self.block, self.count)
            body = next(parts) if self._whole else self._codec.join(list(islice(parts, hi - lo)))
            yield lo, hi, addresses.block(*self._place, lo, hi), body

    def spill(self, folder: Folder) -> None:
        """Write large blocks to files now: once blocks are being stored it would be too late to report an error."""
        for lo, _, address, body in self._bodies():
            if len(body) > folder.threshold:
                self._files[lo] = _placed(address, self.attempt, body, folder)


def _block_by_block(codec: Codec, values: Sequence[Any], spool: _Spool) -> bool:
    """Serialize 256 elements at a time, five times faster than one by one; give up at a block over 64 KB.

    Where the first element alone is large nothing is begun: 256 such at once might not fit into memory.
    """
    if values and len(codec.dump_many(values[:1], spool.culprit)) > BLOCK_BYTES // 16:
        return False
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
            raise SerializationError(named, error.problem, error.remedy) from error.__cause__


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
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 (read later, closed with the spool)
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

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()
