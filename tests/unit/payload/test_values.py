"""Values are stored whole or in blocks, and read only from the place that they were sealed for."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery.errors import BadSignature, DeserializationError, PayloadTooLarge, SerializationError
from dagcelery.payload import addresses
from dagcelery.payload.codecs import AsJSON, AsPickle, codec_for
from dagcelery.payload.signing import Keyring
from dagcelery.payload.values import (
    DEFAULT_LIMITS,
    SPLIT,
    Limits,
    dump_block,
    open_block,
    open_bytes,
    open_items,
    open_value,
    seal_body,
    seal_bytes,
    seal_items,
    seal_split_mark,
    seal_value,
)

json = codec_for(AsJSON())
keyring = Keyring.parse("key")
here = addresses.value("r1", "0", "3.0")
elsewhere = addresses.value("r1", "0", "4.0")


@pytest.fixture(params=["key", None], ids=["signed", "unsigned"])
def keys(request: pytest.FixtureRequest) -> Keyring:
    return Keyring.parse(request.param)


def sealed_block(keys: Keyring, codec: Any, lo: int, items: list[Any], limits: Limits = DEFAULT_LIMITS) -> bytes:
    address = addresses.block("r1", "0", "3.0", lo, lo + len(items))
    return seal_body(keys, address, 1, dump_block(codec, items, lo, address, limits), None)


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, {"a": [1]}, "x" * 100_000])
@pytest.mark.parametrize("serializer", [AsJSON(), AsPickle()], ids=["json", "pickle"])
def test_a_value_comes_back(keys: Keyring, serializer: Any, value: Any) -> None:
    codec = codec_for(serializer)
    assert open_value(keys, codec, here, seal_value(keys, codec, here, 3, value)) == value


def test_a_value_of_another_place_is_refused() -> None:
    with pytest.raises(BadSignature):
        open_value(keyring, json, here, seal_value(keyring, json, elsewhere, 1, 5))


def test_the_attempt_is_read_from_what_is_stored(keys: Keyring) -> None:
    assert open_bytes(keys, here, seal_bytes(keys, here, 7, b"a", b"b")) == (7, b"ab")


def test_stored_bytes_begin_with_a_zero() -> None:
    assert seal_value(keyring, json, here, 1_000_000, 5)[0] == 0


def test_a_list_that_is_stored_split_leaves_a_mark(keys: Keyring) -> None:
    assert open_value(keys, json, here, seal_split_mark(keys, here, 1)) is SPLIT


def test_an_unknown_mark_is_refused() -> None:
    with pytest.raises(DeserializationError, match="same version"):
        open_value(keyring, json, here, seal_bytes(keyring, here, 1, b"Z"))


def test_errors_name_the_culprit_or_else_the_address() -> None:
    with pytest.raises(SerializationError, match="the result of fit at"):
        seal_value(keyring, json, here, 1, [{1}], culprit="the result of fit")
    with pytest.raises(SerializationError, match=r"value 3\.0 in scope 0 of run r1 at"):
        seal_value(keyring, json, here, 1, [{1}])
    stored = seal_bytes(keyring, here, 1, b"V{")
    with pytest.raises(DeserializationError, match="the input of fit"):
        open_value(keyring, json, here, stored, culprit="the input of fit")


def test_a_value_above_the_limit_is_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="102 bytes"):
        seal_value(keyring, json, here, 1, "x" * 100, limits=Limits(payload_bytes=101))


@pytest.mark.parametrize("serializer", [AsJSON(), AsPickle()], ids=["json", "pickle"])
def test_a_block_comes_back(keys: Keyring, serializer: Any) -> None:
    codec = codec_for(serializer)
    stored = sealed_block(keys, codec, 256, [None, 0, "a"])
    assert open_block(keys, codec, "r1", "0", "3.0", 256, 259, stored) == [None, 0, "a"]


def test_a_block_of_another_range_is_refused() -> None:
    stored = sealed_block(keyring, json, 256, [1, 2, 3])
    for lo, hi in ((0, 3), (256, 258), (256, 260), (257, 259)):
        with pytest.raises(BadSignature):
            open_block(keyring, json, "r1", "0", "3.0", lo, hi, stored)


def test_an_unsigned_block_of_another_length_is_refused() -> None:
    keyless = Keyring.parse(None)
    stored = sealed_block(keyless, json, 0, [1, 2, 3])
    with pytest.raises(DeserializationError):
        open_block(keyless, json, "r1", "0", "3.0", 0, 2, stored)


def test_the_length_of_a_list_is_sealed(keys: Keyring) -> None:
    stored = seal_items(keys, "r1", "0", "3.0", 2, 600, 256)
    assert open_items(keys, "r1", "0", "3.0", stored) == 600


def test_a_length_of_another_list_is_refused() -> None:
    with pytest.raises(BadSignature):
        open_items(keyring, "r1", "0", "4.0", seal_items(keyring, "r1", "0", "3.0", 2, 600, 256))
