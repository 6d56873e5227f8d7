"""Outputs as they lie between the nodes of a DAG, and after it: serialized, in files or in memory.

py-dagger always writes files. Where nobody asks for them, values stay in memory here unless they are large, since a
fan-out would otherwise make a folder and a file for each of its items, which takes most of its time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from dagcelery.client import OutputFile
from dagcelery.model import Serializer

T = TypeVar("T")

_LARGE_BYTES: Final = 1024 * 1024


class OutputInMemory(NamedTuple):
    """An output that is not in a file, and the serializer that reads it."""

    data: bytes
    serializer: Serializer


class PartitionedOutput(Generic[T]):
    """An output of several parts, in order; it may be gone through more than once."""

    def __init__(self, iterable: Iterable[T]) -> None:
        self._parts = list(iterable)

    def __iter__(self) -> Iterator[T]:
        return iter(self._parts)

    def __repr__(self) -> str:
        return repr(self._parts)


NodeOutput: TypeAlias = OutputFile | PartitionedOutput[OutputFile]
NodeOutputs: TypeAlias = Mapping[str, NodeOutput]
NodeExecutions: TypeAlias = NodeOutputs | PartitionedOutput[NodeOutputs]
NodeParams: TypeAlias = Mapping[str, Any]


def load(filename: str, serializer: Serializer) -> Any:
    """Return the value in a file."""
    with open(filename, "rb") as reader:
        return serializer.deserialize(reader)


def dump(filename: str, value: Any, serializer: Serializer) -> OutputFile:
    """Write a value to a file."""
    with open(filename, "wb") as writer:
        serializer.serialize(value, writer)
    return OutputFile(filename, serializer)


def held(filename: str, value: Any, serializer: Serializer) -> OutputInMemory | OutputFile:
    """Keep a value in memory, or in a file if it is large."""
    with _Spool(max_size=_LARGE_BYTES) as spool:
        serializer.serialize(value, spool)  # type: ignore[arg-type]
        size = spool.seek(0, os.SEEK_END)
        spool.seek(0)
        if size <= _LARGE_BYTES:
            return OutputInMemory(spool.read(), serializer)
        os.makedirs(os.path.dirname(filename), exist_ok=True)
        with open(filename, "wb") as writer:
            shutil.copyfileobj(spool, writer)
    return OutputFile(filename, serializer)


def loaded(output: Any) -> Any:
    """Return the value of an output; of one in parts the list of their values."""
    if isinstance(output, OutputInMemory):
        return output.serializer.deserialize(BytesIO(output.data))
    if isinstance(output, OutputFile):
        return load(*output)
    return [loaded(part) for part in output]


def deserialized_outputs(node_outputs: NodeOutputs) -> dict[str, Any]:
    """Return the values of outputs."""
    return {name: loaded(output) for name, output in node_outputs.items()}


class _Spool(SpooledTemporaryFile[bytes]):
    """A file that serializers cannot close, as some libraries do with what they write to."""

    def close(self) -> None:
        """Do nothing."""

    def __exit__(self, *error: object) -> None:
        super().close()

    def __enter__(self) -> IO[bytes]:  # type: ignore[override]
        return self
