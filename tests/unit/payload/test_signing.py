"""Sealed bytes are refused if anything about them is not as it was sealed."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcelery.errors import BadSignature, InvalidSetting, NotConfigured, UnknownKey
from dagcelery.payload import addresses
from dagcelery.payload.signing import Keyring

keyring = Keyring.parse("new")
keyless = Keyring.parse(None)
context = addresses.attempted(addresses.value("r1", "0", "3.0"), 2)


@given(st.binary(max_size=300), st.binary(max_size=20))
def test_what_was_sealed_is_opened(body: bytes, prefix: bytes) -> None:
    sealed = keyring.seal(context, body, prefix=prefix)
    assert sealed.startswith(prefix)
    assert keyring.open(context, sealed, len(prefix)) == body


def test_a_body_may_come_in_parts() -> None:
    assert keyring.open(context, keyring.seal(context, b"a", b"", b"bc")) == b"abc"


def test_a_large_body_is_viewed_and_not_copied() -> None:
    body = keyring.open(context, keyring.seal(context, b"x" * 100_000))
    assert isinstance(body, memoryview)
    assert body == b"x" * 100_000


def test_every_changed_byte_is_noticed() -> None:
    sealed = keyring.seal(context, b"body")
    for at in range(len(sealed)):
        for bit in (1, 128):
            forged = bytearray(sealed)
            forged[at] ^= bit
            with pytest.raises(BadSignature):
                keyring.open(context, bytes(forged))


def test_every_cut_is_noticed() -> None:
    sealed = keyring.seal(context, b"body")
    for size in range(len(sealed)):
        with pytest.raises(BadSignature):
            keyring.open(context, sealed[:size])
    with pytest.raises(BadSignature):
        keyring.open(context, sealed + b"\0")


def test_bytes_of_another_place_are_refused_naming_this_one() -> None:
    other = addresses.attempted(addresses.value("r2", "0", "3.0"), 2)
    with pytest.raises(BadSignature, match=r"value 3\.0 in scope 0 of run r1, attempt 2") as caught:
        keyring.open(context, keyring.seal(other, b"body"))
    assert not isinstance(caught.value, UnknownKey)


def test_context_and_body_cannot_trade_bytes() -> None:
    sealed = keyring.seal(b"ab", b"c")
    with pytest.raises(BadSignature):
        keyring.open(b"a", sealed[:37] + b"bc")


def test_a_changed_key_still_opens_what_the_old_one_sealed() -> None:
    changing = Keyring.parse("newer, new")
    assert changing.open(context, keyring.seal(context, b"body")) == b"body"


def test_the_first_key_seals() -> None:
    changing = Keyring.parse("newer,new")
    assert Keyring.parse("newer").open(context, changing.seal(context, b"body")) == b"body"
    with pytest.raises(UnknownKey):
        keyring.open(context, changing.seal(context, b"body"))


def test_without_keys_bytes_travel_unsigned() -> None:
    assert keyless.open(context, keyless.seal(context, b"body")) == b"body"
    assert not keyless.signed


def test_a_process_with_a_key_refuses_unsigned_bytes() -> None:
    with pytest.raises(BadSignature, match="not signed"):
        keyring.open(context, keyless.seal(context, b"body"))


def test_a_process_without_a_key_refuses_signed_bytes_and_says_how_to_set_one() -> None:
    with pytest.raises(UnknownKey, match="DAGCELERY_SIGNING_KEY"):
        keyless.open(context, keyring.seal(context, b"body"))


def test_what_needs_a_key_says_so() -> None:
    keyring.require_key("pickle")
    with pytest.raises(NotConfigured, match=r"pickle.*DAGCELERY_SIGNING_KEY"):
        keyless.require_key("pickle")


@pytest.mark.parametrize("text", [None, "", "  "])
def test_no_text_is_no_key(text: str | None) -> None:
    assert not Keyring.parse(text).signed


@pytest.mark.parametrize("text", [",", "new,", ",old", "new,,old"])
def test_an_empty_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="DAGCELERY_SIGNING_KEY"):
        Keyring.parse(text)


def test_a_keyring_never_shows_its_keys() -> None:
    assert "hush" not in repr(Keyring.parse("hush,hush2"))


def test_a_keyring_never_travels() -> None:
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(keyring)


def test_first_bytes_are_those_that_the_format_says() -> None:
    assert keyring.seal(context, b"")[0] == 0x11
    assert keyless.seal(context, b"")[0] == 0x10
