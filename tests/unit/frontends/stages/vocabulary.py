"""Stages that the tests use, in a module that workers can import."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dagcelery import DiskCacheStage, RedisStage, Stage, stage

JOURNAL: list[object] = []


@stage
def note(what: object, *, times: int = 1) -> None:
    """Write into the journal of this process."""
    JOURNAL.extend([what] * times)


@stage
def gather(*parts: int, **named: int) -> str:
    """Take what has no name as well."""
    JOURNAL.append((parts, named))
    return "nobody gets this"


@stage
def leave(folder: str, name: str) -> object:
    """Leave a file with the process that ran it; return what nobody could store."""
    Path(folder, name).write_text(str(os.getpid()))
    return object()


@stage
def fail(reason: str) -> None:
    """Raise."""
    raise ValueError(reason)


class Counter(Stage):
    """Has a state that its constructor is given."""

    name = "count"

    def __init__(self, folder: str, start: int) -> None:
        self.folder = folder
        self.start = start
        self.counted: int | None = None

    def run(self) -> None:
        self.counted = self.start + 1
        Path(self.folder, f"counted-{self.counted}").touch()


class Writer(RedisStage):
    def __init__(self, *args: Any, values: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.values = values

    def run(self, *args: Any, **kwargs: Any) -> None:
        for key, value in self.values.items():
            self.write(key, value)


class Reader(RedisStage):
    """Reads what others wrote, and leaves it in a file."""

    def __init__(self, *args: Any, key: str, file: Path, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.key = key
        self.file = file

    def run(self, *args: Any, **kwargs: Any) -> None:
        self.file.write_text(repr(self.read(self.key)))


class Deleter(RedisStage):
    def run(self) -> None:
        self.delete("key")
        self.delete("never there")


class DiskWriter(DiskCacheStage):
    def run(self) -> None:
        self.write("key", {1: {2}})
        self.write("gone", 1)
        self.delete("gone")
        self.delete("gone")


class DiskReader(DiskCacheStage):
    def run(self) -> None:
        assert self.read("key") == {1: {2}}
        self.write("found", self.read("key"))
        self.read("gone")
