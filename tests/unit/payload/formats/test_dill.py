"""dill carries nearly everything, and is pickle: only signed data may be read with it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator

import pytest

from dagcelery import AsDill
from dagcelery.errors import DeserializationError, SerializationError
from dagcelery.payload.codecs import codec_for

from .files import carried, peak_of_writing, written

pytest.importorskip("dill", reason="pip install 'dagcelery[dill]'")


def test_classes_and_functions_of_scripts_travel() -> None:
    class Doubled(Counter[str]):
        def twice(self, name: str) -> int:
            return 2 * self[name]

    factor = 3
    assert carried(AsDill(), Doubled("aab")).twice("a") == 4
    assert carried(AsDill(), lambda x: x * factor)(2) == 6


def test_what_cannot_be_pickled_is_refused_with_its_cause() -> None:
    with pytest.raises(SerializationError, match="the result: cannot be written as dill") as caught:
        codec_for(AsDill()).dump(endless(), "the result")
    assert caught.value.remedy
    assert caught.value.__cause__ is not None


def endless() -> Iterator[int]:
    yield from iter(int, 1)


@pytest.mark.parametrize("data", [b"", b"\x80", b"no pickle", b"cno.such.module\nThing\n."])
def test_bytes_that_hold_no_value_are_refused(data: bytes) -> None:
    with pytest.raises(DeserializationError, match="the input: cannot be read as dill"):
        codec_for(AsDill()).load(data, "the input")


def test_every_cut_is_noticed() -> None:
    data = written(AsDill(), {"a": [1, 2.5, "é"]})
    for end in range(len(data)):
        with pytest.raises(DeserializationError):
            AsDill().deserialize(io.BytesIO(data[:end]))


def test_a_large_value_is_written_bit_by_bit() -> None:
    chunks = [bytes([n % 256]) * 500_000 for n in range(20)]
    peak, size = peak_of_writing(AsDill(), chunks)
    assert size > 9_000_000
    assert peak < size / 5
