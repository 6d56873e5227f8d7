"""A LazyList behaves as the list that it reads."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcelery.payload.codecs import AsJSON, AsPickle, codec_for
from dagcelery.payload.lazy import LazyList

COUNT = 50
numbers = list(range(100, 100 + COUNT))


class Source:
    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.given = 0

    def fetch(self, lo: int, hi: int) -> Iterator[int]:
        self.asked.append((lo, hi))
        assert 0 <= lo < hi <= COUNT
        for number in numbers[lo:hi]:
            self.given += 1
            yield number


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def lazy(source: Source) -> LazyList[int]:
    return LazyList(COUNT, source.fetch, block=8)


indexes = st.none() | st.integers(-60, 60)


@given(indexes, indexes, indexes.filter(lambda step: step != 0), st.integers(1, 9))
def test_a_slice_is_the_lists_slice(start: int | None, stop: int | None, step: int | None, block: int) -> None:
    lazy = LazyList(COUNT, Source().fetch, block)
    part = lazy[start:stop:step]
    expected = numbers[start:stop:step]
    assert list(part) == expected
    assert len(part) == len(expected)
    assert [part[index] for index in range(len(part))] == expected
    assert list(part[1:-1]) == expected[1:-1]


def test_it_can_be_iterated_again(lazy: LazyList[int]) -> None:
    assert list(lazy) == list(lazy) == numbers


def test_iterating_reads_no_more_than_is_asked_for(lazy: LazyList[int], source: Source) -> None:
    iterator = iter(lazy)
    assert [next(iterator), next(iterator)] == numbers[:2]
    assert source.given == 2


def test_slicing_reads_nothing(lazy: LazyList[int], source: Source) -> None:
    assert len(lazy[5:]) == COUNT - 5
    assert source.asked == []


def test_neighbours_are_read_together(lazy: LazyList[int], source: Source) -> None:
    assert [lazy[index] for index in range(16)] == numbers[:16]
    assert source.asked == [(0, 8), (8, 16)]


def test_an_index_outside_is_an_index_error(lazy: LazyList[int]) -> None:
    assert lazy[-1] == numbers[-1]
    for index in (COUNT, -COUNT - 1):
        with pytest.raises(IndexError, match="50 elements"):
            lazy[index]


def test_it_has_what_a_sequence_has(lazy: LazyList[int]) -> None:
    assert 105 in lazy
    assert lazy.index(105) == 5
    assert lazy.count(105) == 1
    assert list(reversed(lazy)) == numbers[::-1]
    assert sum(lazy) == sum(numbers)
    assert lazy


def test_an_empty_one_is_falsy(source: Source) -> None:
    empty: LazyList[int] = LazyList(0, source.fetch)
    assert not empty
    assert list(empty) == list(empty[::-1]) == []
    assert source.asked == []


def test_it_equals_lists_of_the_same_elements(lazy: LazyList[int]) -> None:
    assert lazy == numbers
    assert numbers == lazy
    assert lazy == lazy[:]
    assert lazy != numbers[1:]
    assert lazy != tuple(numbers)


def test_it_is_serialized_as_a_list(lazy: LazyList[int]) -> None:
    json, pickled = codec_for(AsJSON()), codec_for(AsPickle())
    assert json.load(json.dump({"a": lazy})) == {"a": numbers}
    assert pickled.load(pickled.dump(lazy)) == numbers
    assert type(pickle.loads(pickle.dumps(lazy))) is list


def test_its_repr_reads_nothing(lazy: LazyList[int], source: Source) -> None:
    assert repr(lazy) == "<LazyList of 50 elements>"
    assert source.asked == []
