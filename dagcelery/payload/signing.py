"""A keyring seals bytes: without the key they can neither be forged nor moved to another place.

Sealed bytes are laid out as follows, and nothing of the body is looked at before the MAC was compared:

=======  ======  ================================================================================
offset   bytes   meaning
=======  ======  ================================================================================
0        1       ``0x11``: signed; ``0x10``: not signed, the body follows at once
1        4       which key: the beginning of a hash of it, so that keys can be changed while runs go on
5        32      HMAC-SHA256 over the context's length in 4 bytes, the context, and the body
37       any     the body
=======  ======  ================================================================================
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from dagcelery.errors import BadSignature, InvalidSetting, NotConfigured, UnknownKey
from dagcelery.payload.addresses import readable

VARIABLE: Final = "DAGCELERY_SIGNING_KEY"
REMEDY: Final = f"set {VARIABLE} to the same value on the client and its workers"

_UNSIGNED: Final = b"\x10"
_SIGNED: Final = b"\x11"
_BODY: Final = 37
_COPIED_BYTES: Final = 64 * 1024
"""A body up to this size is cut out as bytes; a larger one is viewed, since copying it would cost more."""


class Keyring:
    """The keys of a process: the first one seals, every one opens. Without keys nothing is signed."""

    __slots__ = ("_header", "_keys", "_newest", "signed")

    def __init__(self, secrets: Sequence[str | bytes] = ()) -> None:
        # A hash that has absorbed the key is copied for each use: half the price of hmac.digest.
        keys = [secret.encode() if isinstance(secret, str) else secret for secret in secrets]
        self._keys = {_key_id(key): hmac.new(_derived(key), digestmod="sha256") for key in keys}
        self.signed = bool(keys)
        self._newest = self._keys[_key_id(keys[0])] if keys else None
        self._header = _SIGNED + _key_id(keys[0]) if keys else _UNSIGNED

    @classmethod
    def parse(cls, text: str | None) -> Keyring:
        """Read ``"new,old"``: keys separated by commas, the one that seals first; None or "" means no key."""
        if not text or not text.strip():
            return cls()
        secrets = [part.strip() for part in text.split(",")]
        if not all(secrets):
            raise InvalidSetting(
                VARIABLE,
                "has an empty key between its commas",
                'write one key, or "new,old" while changing it',
            )
        return cls(secrets)

    def __repr__(self) -> str:
        """Show key ids; the keys themselves are never shown."""
        return f"<Keyring {', '.join(key.hex() for key in self._keys) or 'without keys'}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Keyring is never pickled, since it holds secrets; read it from the settings instead")

    @property
    def ids(self) -> tuple[str, ...]:
        """What the keys are called in public, the one that seals first: the beginning of a hash, in hexadecimal."""
        return tuple(key.hex() for key in self._keys)

    def require_key(self, what: str) -> None:
        """Raise NotConfigured naming `what` unless there is a key."""
        if not self.signed:
            raise NotConfigured(f"{what} may only travel in signed data, and no signing key is set", REMEDY)

    def seal(self, context: bytes, *body: bytes | memoryview, prefix: bytes = b"") -> bytes:
        """Return `prefix`, which is not signed, and the sealed body, whose parts are joined."""
        if self._newest is None:
            return b"".join((prefix, _UNSIGNED, *body))
        mac = self._newest.copy()
        mac.update(len(context).to_bytes(4, "big") + context)
        for part in body:
            mac.update(part)
        return b"".join((prefix, self._header, mac.digest(), *body))

    def open(self, context: bytes, sealed: bytes, start: int = 0) -> bytes | memoryview:
        """Return the body of what is sealed in `sealed` from `start` on, a view of it above 64 KB.

        Raises BadSignature, naming the place that `context` means: UnknownKey where another key sealed it.
        """
        flag = sealed[start : start + 1]
        if self._newest is None and flag == _UNSIGNED:
            return _tail(sealed, start + 1)
        if flag != _SIGNED or self._newest is None:
            raise self._refusal(context, flag)
        key = self._keys.get(sealed[start + 1 : start + 5])
        if key is None:
            raise UnknownKey(
                readable(context),
                f"they are signed with key {sealed[start + 1 : start + 5].hex()}, which is not among "
                f"{', '.join(known.hex() for known in self._keys)} here; add it to {VARIABLE}",
            )
        body = _tail(sealed, start + _BODY)
        mac = key.copy()
        mac.update(len(context).to_bytes(4, "big") + context)
        mac.update(body)
        if not hmac.compare_digest(mac.digest(), sealed[start + 5 : start + _BODY]):
            raise BadSignature(
                readable(context),
                "their signature does not fit: they were changed, cut short or moved here from another place",
            )
        return body

    def _refusal(self, context: bytes, flag: bytes) -> BadSignature:
        if flag == _SIGNED:
            return UnknownKey(readable(context), f"they are signed, and no key is set here to verify them; {REMEDY}")
        if flag == _UNSIGNED:
            return BadSignature(
                readable(context),
                f"they are not signed, and a process with a key takes only signed data; {REMEDY}",
            )
        return BadSignature(readable(context), f"they begin with {flag!r}, which no seal of ours does")


def key_of(sealed: bytes, start: int = 0) -> str:
    """Return the id of the key that something says it was sealed with, "" if none; nothing is verified for that."""
    return sealed[start + 1 : start + 5].hex() if sealed[start : start + 1] == _SIGNED else ""


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"dagcelery key id\0" + key).digest()[:4]


def _derived(key: bytes) -> bytes:
    # A key that is also used elsewhere must not verify data that was signed there.
    return hmac.digest(key, b"dagcelery payload 1", "sha256")


def _tail(sealed: bytes, start: int) -> bytes | memoryview:
    if len(sealed) - start <= _COPIED_BYTES:
        return sealed[start:]
    return memoryview(sealed)[start:]
