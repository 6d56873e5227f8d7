"""Lists of any length are split into blocks of one size while little of them is in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcelery.errors import LimitExceeded, PayloadTooLarge, SerializationError
from dagcelery.payload.codecs import AsJSON, AsPickle, codec_for
from dagcelery.payload.signing import Keyring
from dagcelery.payload.values import (
    BLOCK_BYTES,
    Limits,
    SplitList,
    block_size,
    open_block,
    open_items,
    split_blocks,
)

json = codec_for(AsJSON())
keyring = Keyring.parse("key")
place = ("r1", "0", "3.0")


def split(values: Any, **options: Any) -> SplitList:
    return split_blocks(keyring, json, *place, 1, values, **options)


def read(blocks: SplitList) -> list[Any]:
    values = []
    for lo, hi, stored in blocks:
        assert lo == len(values)
        values += open_block(keyring, json, *place, lo, hi, stored)
    assert len(values) == open_items(keyring, *place, blocks.sealed_items) == blocks.count
    return values


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1000])
@pytest.mark.parametrize("kind", [list, tuple, iter], ids=["list", "tuple", "iterator"])
def test_a_split_list_comes_back(kind: Any, count: int) -> None:
    assert read(split(kind(range(count)))) == list(range(count))


@given(st.lists(st.integers(0, 40_000), max_size=40), st.booleans())
def test_elements_of_any_sizes_come_back(sizes: list[int], as_list: bool) -> None:
    values = ["x" * size for size in sizes]
    assert read(split(values if as_list else iter(values))) == values


@given(st.lists(st.integers(0, 100_000), max_size=600))
def test_a_block_is_as_large_as_it_may_be(sizes: list[int]) -> None:
    allowed = BLOCK_BYTES + max(sizes, default=0)

    def fits(block: int) -> bool:
        return all(sum(sizes[at : at + block]) <= allowed for at in range(0, len(sizes), block))

    block = block_size(sizes)
    assert block in (1, 2, 4, 8, 16, 32, 64, 128, 256)
    assert fits(block)
    assert block == 256 or not fits(2 * block)


def test_small_elements_stand_in_blocks_of_256() -> None:
    assert split(range(1000)).block == 256
    assert split(list(range(1000))).block == 256


def test_large_elements_stand_in_small_blocks() -> None:
    assert split(["x" * 10_000] * 100).block == 4


def test_a_generator_is_never_in_memory_as_a_whole() -> None:
    def rows() -> Iterator[str]:
        for index in range(2000):
            yield f"{index}" + "x" * 10_000

    tracemalloc.start()
    blocks = split(rows(), limits=Limits(spool_bytes=1_000_000))
    total = sum(len(stored) for _, _, stored in blocks)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 20_000_000
    assert peak < 3_000_000


def test_a_list_that_went_through_a_file_comes_back_as_often_as_asked() -> None:
    values = ["x" * 1000 + str(index) for index in range(500)]
    blocks = split(iter(values), limits=Limits(spool_bytes=10_000))
    assert read(blocks) == values
    assert read(blocks) == values


def test_elements_are_serialized_each_on_its_own() -> None:
    shared: list[int] = [1]
    codec = codec_for(AsPickle())
    blocks = split_blocks(keyring, codec, *place, 1, [shared, shared])
    [(lo, hi, stored)] = blocks
    first, second = open_block(keyring, codec, *place, lo, hi, stored)
    assert first == second
    assert first is not second


@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
def test_an_element_that_cannot_be_serialized_is_named(kind: Any) -> None:
    values: Sequence[Any] = [*range(300), {"a": [{1}]}]
    with pytest.raises(SerializationError) as caught:
        split(kind(values), culprit="the result of load")
    assert caught.value.culprit == "the result of load at [300]['a'][0]"


@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
def test_a_list_with_too_many_elements_is_refused(kind: Any) -> None:
    with pytest.raises(LimitExceeded, match="DAGCELERY_MAX_ITEMS"):
        split(kind(range(11)), limits=Limits(items=10))


def test_an_endless_generator_is_stopped() -> None:
    with pytest.raises(LimitExceeded):
        split(iter(int, 1), limits=Limits(items=1000))


@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
def test_a_list_that_takes_too_many_bytes_is_refused(kind: Any) -> None:
    with pytest.raises(PayloadTooLarge):
        split(kind(["x" * 50] * 3), limits=Limits(payload_bytes=100))


def test_an_error_of_the_generator_is_its_own() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        split(broken())
