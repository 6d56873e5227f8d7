"""Values are stored sealed at an address: whole, or as a list split into blocks of elements.

What is stored begins with the number of the attempt that wrote it, 4 bytes in clear, since a reader cannot
know it beforehand; it is signed together with the address. The body of a whole value begins with a mark:
``V``, and the serialized value follows, ``F``: it stands in a file, and a reference follows, ``L``: the value is a
list, and stands split beside it, or ``S``: it was skipped. Blocks have no mark; one that stands for a single skipped
element has the attempt's highest bit set, one that stands in a file the third.

A list is split into blocks of the same number of elements, a power of two up to 256, so that a reader finds
an element without an index. The length and that number are sealed in a record of their own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

from dagcelery.errors import DeserializationError, PayloadTooLarge
from dagcelery.payload import addresses, signing
from dagcelery.payload.addresses import Culprit
from dagcelery.payload.codecs import Bytes, Codec
from dagcelery.payload.signing import Keyring
from dagcelery.payload.skipped import Skipped
from dagcelery.payload.spill import Folder, Reference, Spilled, referring, wrapped

_ATTEMPT_BYTES: Final = 4
_VALUE: Final = b"V"
_LIST: Final = b"L"
_SKIPPED: Final = b"S"
_SPILLED: Final = b"F"
_SKIPPED_BIT: Final = 1 << 31
_SPILLED_BIT: Final = 1 << 29
"""Not the one between: what begins with ``@`` means something else to the store."""


class Stored(Enum):
    """What stands in a value's place when the value itself does not."""

    SPLIT = "split"


SPLIT: Final = Stored.SPLIT
"""Given back for a list whose elements are stored split."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large things may be: bytes of one value (a list counts whole), elements of one list, and bytes of
    a list being split that are kept in memory before a temporary file takes over."""

    payload_bytes: int = 512 * 1024 * 1024
    items: int = 1_000_000
    spool_bytes: int = 8 * 1024 * 1024


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Items:
    """How a list is split: `count` elements in blocks of `block`, written by `attempt`."""

    count: int
    block: int
    attempt: int

    def ranges(self) -> list[tuple[int, int]]:
        """The ranges ``[lo, hi)`` of all blocks."""
        return [(lo, min(lo + self.block, self.count)) for lo in range(0, self.count, self.block)]


def seal_bytes(keyring: Keyring, address: bytes, attempt: int, *body: Bytes) -> bytes:
    """Seal bytes that are no user's value: a plan, a failure, a record."""
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
    body = wrapped(codec, folder, address, attempt).dump(value, culprit or address, limits.payload_bytes)
    return seal_bytes(keyring, address, attempt, _SPILLED if type(body) is Reference else _VALUE, body)


def seal_split_mark(keyring: Keyring, address: bytes, attempt: int) -> bytes:
    """Seal the note that the value of this address is a list which is stored split."""
    return seal_bytes(keyring, address, attempt, _LIST)


def seal_skipped(keyring: Keyring, address: bytes, attempt: int, skipped: Skipped) -> bytes:
    """Seal what stands in the place of a whole value that there is not."""
    return seal_bytes(keyring, address, attempt, _SKIPPED, skipped.encode())


def open_value(
    keyring: Keyring,
    codec: Codec,
    address: bytes,
    stored: bytes,
    *,
    culprit: str = "",
    folder: Folder | None = None,
) -> Any | Literal[Stored.SPLIT]:
    """Verify and return one value, or SPLIT where its elements are stored instead.

    Raises BadSignature before anything is decoded, and DeserializationError; of a value that stands in a file
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
        return referring(codec, folder, address, attempt, name).load(Reference.parse(body[1:], name), name)
    if mark == _SKIPPED:
        return Skipped.decode(body[1:])
    raise DeserializationError(
        addresses.named(culprit or address),
        f"begins with {bytes(mark)!r}, which no value does",
        "use the same version of dagcelery on the client and its workers",
    )


def seal_block(
    keyring: Keyring,
    codec: Codec,
    run_id: str,
    scope: str,
    token: str,
    lo: int,
    attempt: int,
    items: Sequence[Any],
    *,
    culprit: str = "",
    limits: Limits = DEFAULT_LIMITS,
    folder: Folder | None = None,
) -> bytes:
    """Serialize and seal elements of a list from index `lo` on; how many is part of the signed address."""
    address = addresses.block(run_id, scope, token, lo, lo + len(items))
    body = dump_block(codec, items, lo, culprit or address, limits)
    return seal_body(keyring, codec, address, attempt, body, folder)


def dump_block(codec: Codec, items: Sequence[Any], lo: int, culprit: Culprit, limits: Limits) -> bytes:
    """Serialize elements of a list from index `lo` on, to be sealed together. Raises PayloadTooLarge."""
    return _bounded(codec.dump_many(items, culprit, lo), culprit, limits)


def join_block(codec: Codec, parts: Sequence[bytes], culprit: Culprit, limits: Limits) -> bytes:
    """Return what `dump_block` makes of elements that were dumped to `parts`. Raises PayloadTooLarge."""
    return _bounded(codec.join(parts), culprit, limits)


def _bounded(body: bytes, culprit: Culprit, limits: Limits) -> bytes:
    if len(body) > limits.payload_bytes:
        raise PayloadTooLarge(addresses.named(culprit), len(body), limits.payload_bytes)
    return body


def seal_body(
    keyring: Keyring, codec: Codec, address: bytes, attempt: int, body: bytes, folder: Folder | None
) -> bytes:
    """Seal the serialized elements of a block; many bytes go to `folder`."""
    return seal_bytes(keyring, address, *placed(codec, address, attempt, body, folder))


def placed(codec: Codec, address: bytes, attempt: int, body: bytes, folder: Folder | None) -> tuple[int, bytes]:
    """Put the serialized elements of a block where they belong: what is to be sealed of them, as which attempt."""
    if folder is None or len(body) <= folder.threshold:
        return attempt, body
    attempt |= _SPILLED_BIT
    return attempt, Spilled(codec, folder, address, attempt).kept(body)


def open_block(
    keyring: Keyring,
    codec: Codec,
    run_id: str,
    scope: str,
    token: str,
    lo: int,
    hi: int,
    stored: bytes,
    *,
    culprit: str = "",
    folder: Folder | None = None,
) -> list[Any]:
    """Verify and return the elements ``[lo, hi)`` of a list. Raises what `open_value` raises."""
    address = addresses.block(run_id, scope, token, lo, hi)
    attempt, body = open_bytes(keyring, address, stored)
    if attempt & _SKIPPED_BIT:
        return [Skipped.decode(body)]
    name = culprit or address
    if attempt & _SPILLED_BIT:
        codec, body = referring(codec, folder, address, attempt, name), Reference.parse(body, name)
    return codec.load_many(body, hi - lo, name)


def seal_skipped_block(
    keyring: Keyring, run_id: str, scope: str, token: str, index: int, attempt: int, skipped: Skipped
) -> bytes:
    """Seal what stands in the place of one element that there is not."""
    address = addresses.block(run_id, scope, token, index, index + 1)
    return seal_bytes(keyring, address, attempt | _SKIPPED_BIT, skipped.encode())


def seal_items(keyring: Keyring, run_id: str, scope: str, token: str, attempt: int, count: int, block: int) -> bytes:
    """Seal the record that says how a list is split."""
    body = json.dumps({"n": count, "block": block}).encode()
    return seal_bytes(keyring, addresses.items(run_id, scope, token), attempt, body)


def open_items(keyring: Keyring, run_id: str, scope: str, token: str, stored: bytes) -> Items:
    """Verify and return the record that says how a list is split."""
    attempt, body = open_bytes(keyring, addresses.items(run_id, scope, token), stored)
    record = json.loads(bytes(body))
    return Items(record["n"], record["block"], attempt)
