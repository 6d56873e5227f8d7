"""What the tests of all serializers do with files."""

from __future__ import annotations

import contextlib
import io
import tempfile
import tracemalloc
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from dagcelery.errors import DeserializationError

patient = settings(deadline=None)
"""The first call imports libraries, and other work may have the processor."""
broken = st.tuples(st.sampled_from(["cut", "flip", "insert"]), st.integers(0), st.integers(0, 255))


def written(serializer: Any, value: Any) -> bytes:
    """Return the bytes that `serializer` writes; it must leave the file open."""
    file = io.BytesIO()
    serializer.serialize(value, file)
    return file.getvalue()


def read(serializer: Any, data: bytes) -> Any:
    """Return the value that these bytes hold; the file must be left open."""
    file = io.BytesIO(data)
    value = serializer.deserialize(file)
    assert not file.closed
    file.close()
    return value


def carried(serializer: Any, value: Any) -> Any:
    """Return what comes back of `value`, through memory; a file on disk gives the same."""
    data = written(serializer, value)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        assert type(serializer.deserialize(file)).__name__ == type(read(serializer, data)).__name__
    return read(serializer, data)


def damaged(data: bytes, how: tuple[str, int, int]) -> bytes:
    """Return `data` with something done to it."""
    kind, place, byte = how
    at = place % len(data)
    if kind == "cut":
        return data[:at]
    rest = data[at + 1 :] if kind == "flip" else data[at:]
    return data[:at] + bytes([byte]) + rest


def read_or_refuse(serializer: Any, data: bytes) -> None:
    """Read what may hold anything: a value or our error comes of it, and nothing else."""
    with contextlib.suppress(DeserializationError):
        read(serializer, data)


def peak_of_writing(serializer: Any, value: Any) -> tuple[int, int]:
    """Write `value` to a file on disk; return how much Python's memory grew at most, and the size of the file."""
    serializer.serialize(value[:100], io.BytesIO())  # imports are no part of it
    with tempfile.TemporaryFile() as file:
        tracemalloc.start()
        try:
            serializer.serialize(value, file)
            return tracemalloc.get_traced_memory()[1], file.tell()
        finally:
            tracemalloc.stop()
