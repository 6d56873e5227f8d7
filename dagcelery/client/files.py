"""Values as serialized files: a value is one file, a list made by element is a folder with a file for each element.

Such a folder also has ``partitions.json``, the list of its files' names in order. A folder without it is read in the
order of its files' names, which are numbers then.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from dagcelery.errors import InvalidLocation, SerializationError
from dagcelery.model import (
    Serializer,
)
from dagcelery.payload.codecs import Codec
from dagcelery.skipped import Skipped
from dagcelery.text import shown

PARTITIONS: Final = "partitions.json"

_SKIPPED: Final = b"\0dagcelery: skipped\n"
"""What a file begins with in the place of a value that is not there, since its item was left out."""


class OutputFile(NamedTuple):
    """An output in a file, and the serializer that reads it."""

    filename: str
    serializer: Serializer


@dataclass(frozen=True)
class PartitionedOutput:
    """An output in a folder: iterating yields an `OutputFile` for each element, in order."""

    filename: str
    serializer: Serializer
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[OutputFile]:
        return (OutputFile(os.path.join(self.filename, str(at)), self.serializer) for at in range(self.count))


def read(codec: Codec, location: Path, culprit: str) -> Any:
    """Return the value of a file, or the list of a folder, which may hold lists itself.

    Raises InvalidLocation, DeserializationError.
    """
    if not location.is_dir():
        return _value(codec, location, culprit)
    return [read(codec, location / name, f"{culprit}[{at}]") for at, name in enumerate(_names(location, culprit))]


def _value(codec: Codec, file: Path, culprit: str) -> Any:
    with _naming_location(f"{culprit}: {file}", "read", "name a file that can be"), open(file, "rb") as reader:
        if reader.read(len(_SKIPPED)) == _SKIPPED:
            return Skipped.decode(reader.read())
        reader.seek(0)
        return codec.read(reader, f"{culprit}, which is read from {file},")


def _names(folder: Path, culprit: str) -> list[str]:
    """Return the names of a folder's files, in order; none of them leads out of it."""
    manifest = folder / PARTITIONS
    with _naming_location(f"{culprit}: {folder}", "read", "name a folder that can be"):
        if not manifest.exists():
            return _numbered((entry.name for entry in folder.iterdir() if _is_number(entry, culprit)), folder, culprit)
        text = manifest.read_bytes()
    try:
        names = json.loads(text)
    except ValueError as error:
        raise InvalidLocation(f"{culprit}: {manifest}", f"is not JSON: {error}", 'write ["0", "1"]') from error
    if not isinstance(names, list) or not all(_is_plain(name) for name in names):
        remedy = 'write a list of names of files in this folder, such as ["0", "1"]'
        raise InvalidLocation(f"{culprit}: {manifest}", "is not a list of the names of files beside it", remedy)
    return names


def _numbered(names: Iterable[str], folder: Path, culprit: str) -> list[str]:
    """Sort names by the numbers that they are.

    Raises InvalidLocation if two are the same number.
    """
    known: dict[int, str] = {}
    for name in sorted(names):
        other = known.setdefault(int(name), name)
        if other != name:
            problem = f"{other} and {name} are the same number, so their order is unknown"
            raise InvalidLocation(f"{culprit}: {folder}", problem, f"list the files' names in {PARTITIONS}")
    return [known[number] for number in sorted(known)]


def _is_number(entry: Path, culprit: str) -> bool:
    is_number = entry.name.isascii() and entry.name.isdigit()
    if entry.is_file() and not entry.name.startswith(".") and not is_number:
        remedy = f"call the files 0, 1, 2, or list their names in {PARTITIONS}"
        raise InvalidLocation(f"{culprit}: {entry}", "is not named by a number, so its place is unknown", remedy)
    return is_number


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..", PARTITIONS) and not {"/", "\\", "\0"} & set(name)


def path_of(location: object, culprit: str) -> Path:
    """Return a location as a path.

    Raises InvalidLocation.
    """
    path = os.fspath(location) if isinstance(location, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidLocation(f"{culprit}: {shown(location)}", "is not a path", "give a str or a Path")
    return Path(path)


def check_free(location: Path, culprit: str) -> None:
    """Raise InvalidLocation unless something can be written at a location where nothing is."""
    place = f"{culprit}: {location}"
    if os.path.lexists(location):
        raise InvalidLocation(place, "is there already", "remove it, or name another location")
    if not location.parent.is_dir():
        raise InvalidLocation(place, f"{location.parent} is not a folder", "make it first, or name another location")
    if not os.access(location.parent, os.W_OK | os.X_OK):
        raise InvalidLocation(place, f"nothing may be written in {location.parent}", "name another location")


def _check_apart(location: Path, written: Iterable[Path]) -> None:
    """Raise InvalidLocation where a location is a file that was just written: "a" and "A" are one on some machines."""
    other = next((place for place in written if location.exists() and location.samefile(place)), None)
    if other is not None:
        problem = f"this file system takes it for {other}, where another output goes"
        raise InvalidLocation(f"output: {location}", problem, "name another location, or another output")


class PendingOutputs:
    """Outputs that are written beside their locations, and moved there all together when all of them are complete."""

    def __init__(self) -> None:
        self._moves: list[tuple[Path, Path]] = []

    def file(self, codec: Codec, location: Path, value: Any, culprit: str) -> OutputFile:
        """Write a value to be moved to a location."""
        with _naming_location(f"{culprit}: {location}", "written", "name another location"):
            _write(codec, self._part(location), value, culprit)
        return OutputFile(str(location), codec.serializer)

    def text(self, location: Path, text: str, culprit: str) -> None:
        """Write a text to be moved to a location."""
        with _naming_location(f"{culprit}: {location}", "written", "name another location"):
            self._part(location).write_text(text)

    def folder(self, codec: Codec, location: Path, elements: Any, culprit: str) -> PartitionedOutput:
        """Write elements, one after the other, to be moved to a location."""
        if not isinstance(elements, Iterable):
            problem = f"is to be written by element, but it is of type {type(elements).__name__}, which is not iterable"
            raise SerializationError(culprit, problem, "return a list, or any other iterable")
        names: list[str] = []
        with _naming_location(f"{culprit}: {location}", "written", "name another location"):
            part = self._part(location)
            part.mkdir()
            for at, element in enumerate(elements):
                _write(codec, part / str(at), element, f"{culprit} at [{at}]")
                names.append(str(at))
            (part / PARTITIONS).write_text(json.dumps(names))
        return PartitionedOutput(str(location), codec.serializer, len(names))

    def _part(self, location: Path) -> Path:
        part = location.with_name(f".{location.name[:100]}.{uuid.uuid4().hex}.part")
        self._moves.append((part, location))
        return part

    def commit(self) -> None:
        """Move everything to its location; where one cannot be moved, none is."""
        for at, (part, location) in enumerate(self._moves):
            try:
                _check_apart(location, [moved for _, moved in self._moves[:at]])
                check_free(location, "output")  # another process may have been faster
                part.rename(location)
            except OSError as error:
                for back, moved in self._moves[:at]:
                    moved.rename(back)
                if isinstance(error, InvalidLocation):
                    raise
                raise InvalidLocation(str(location), f"cannot be written: {error}", "name another location") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for part, _ in self._moves:
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)


def _write(codec: Codec, file: Path, value: Any, culprit: str) -> None:
    if type(value) is Skipped:
        file.write_bytes(_SKIPPED + value.encode())
        return
    with codec.stream(value, culprit) as made, open(file, "xb") as writer:
        shutil.copyfileobj(made, writer)


@contextmanager
def _naming_location(culprit: str, verb: str, remedy: str) -> Iterator[None]:
    """Say which location it is that the operating system refuses."""
    try:
        yield
    except InvalidLocation:
        raise
    except OSError as error:
        raise InvalidLocation(culprit, f"cannot be {verb}: {error.strerror or error}", remedy) from error
