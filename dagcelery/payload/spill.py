"""Large payloads are kept in files; a reference to the file is stored and signed instead of them.

What is signed is the reference: the number of bytes and their SHA-256. So a file
is believed only if it holds the very bytes that were written, and nothing of it is decoded before that is known.

A reference names no path. A file's name follows from the run, the signed address, the attempt and the digest: no
reference, forged or not, leads out of the folder of its run, or to another value in it. Attempts write files of
different names. What an attempt has written that died before its commit stays unread, and goes with the run's folder.

Folders are opened with fsspec, so that they may lie on a disk that all machines share or in an object store.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any, Final

from dagcelery.errors import (
    DagceleryError,
    DeserializationError,
    InvalidSetting,
    NotConfigured,
    SpillDamaged,
    SpillUnavailable,
)
from dagcelery.payload.addresses import Culprit, attempted, named
from dagcelery.text import masked

VARIABLE: Final = "DAGCELERY_SPILL_URL"
_COPY_BYTES: Final = 1024 * 1024
_IN_MEMORY_BYTES: Final = 8 * 1024 * 1024
_KEPT_BYTES: Final = 64 * 1024 * 1024
_OBJECTS: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "memory"})
"""Object stores: an object exists only when it is complete, and making a folder would make a bucket."""
_SIZE_BYTES: Final = 8
_REFERENCE_BYTES: Final = _SIZE_BYTES + 32


class Reference(bytes):
    """A reference to bytes in a file: how many there are, and their SHA-256."""

    __slots__ = ()

    @classmethod
    def parse(cls, data: bytes | memoryview, culprit: Culprit) -> Reference:
        """Read a reference, or raise DeserializationError."""
        if len(data) != _REFERENCE_BYTES:
            remedy = "use the same version of dagcelery on the client and its workers"
            problem = f"refers to a file in {len(data)} bytes, which cannot be"
            raise DeserializationError(named(culprit), problem, remedy)
        return cls(data)

    @property
    def size(self) -> int:
        """How many bytes the file has."""
        return int.from_bytes(self[:_SIZE_BYTES], "big")

    @property
    def digest(self) -> str:
        """The SHA-256 of the file's bytes, in hexadecimal."""
        return self[_SIZE_BYTES:].hex()


class Spill:
    """Where files of all runs lie: below `url`, in a folder for each run. More than `threshold` bytes go into a file.

    Raises NotConfigured where what opens such URLs is not installed, InvalidSetting for a URL that nothing opens.
    """

    def __init__(self, url: str, threshold: int) -> None:
        self.threshold = threshold
        self.shown_url = masked(url, hides_query=True).rstrip("/")
        self.files, self._root = _opened(url, self.shown_url)
        self._last = threading.local()
        protocol = self.files.protocol
        self.has_objects = not _OBJECTS.isdisjoint((protocol,) if isinstance(protocol, str) else protocol)

    def folder(self, run_id: str, begun: Callable[[], object] = lambda: None) -> Folder:
        """The folder of a run; `begun` is called before the first file is written to it from here."""
        return Folder(self, self._path(run_id), f"{self.shown_url}/{_folder_name(run_id)}", begun)

    def remove(self, run_id: str) -> None:
        """Remove all files of a run; again, or of a run that has none, nothing happens. Raises SpillUnavailable."""
        with _reaching(self.shown_url, "removed"):
            self.files.invalidate_cache()
            try:
                self.files.rm(self._path(run_id), recursive=True)
            except FileNotFoundError:
                return

    def taken(self, path: str) -> Copy | None:
        """Take the copy of a file that this thread read last: each item of a fan-out reads what all of them share."""
        last: tuple[str, Copy] | None = getattr(self._last, "read", None)
        self._last.read = None
        return last[1] if last is not None and last[0] == path and not last[1].closed else None

    def keep(self, path: str, copy: Copy, size: int) -> None:
        """Keep a copy for the next time, unless it is very large or its reader has closed it."""
        if size <= _KEPT_BYTES and not copy.closed:
            self._last.read = path, copy

    def _path(self, run_id: str) -> str:
        return f"{self._root}/{_folder_name(run_id)}"


class Folder:
    """The files of one run."""

    def __init__(self, spill: Spill, path: str, shown: str, begun: Callable[[], object]) -> None:
        self.threshold = spill.threshold
        self.shown = shown
        self._spill = spill
        self._files = spill.files
        self._has_objects = spill.has_objects
        self._path = path
        self._begun: Callable[[], object] | None = begun

    def put(self, address: bytes, attempt: int, source: IO[bytes]) -> Reference:
        """Write what `source` holds, and answer what refers to it; again with the same bytes, nothing changes."""
        source.seek(0)
        size, digest = _copied(source, None)
        reference = Reference(size.to_bytes(_SIZE_BYTES, "big") + digest)
        if self._begun is not None:
            self._begun()
            self._begun = None
        path = f"{self._path}/{_file_name(address, attempt, reference)}"
        source.seek(0)
        with _reaching(self.shown, "written"):
            self._write(path, source)
        return reference

    def _write(self, path: str, source: IO[bytes]) -> None:
        """Write a file that is never seen in part: again, the same bytes take its place."""
        if self._has_objects:
            with self._files.open(path, "wb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
            return
        self._files.makedirs(self._path, exist_ok=True)
        part = f"{path}.{uuid.uuid4().hex}.part"
        with self._files.open(part, "wb") as target:
            shutil.copyfileobj(source, target, _COPY_BYTES)
        self._files.mv(part, path)

    @contextmanager
    def reading(self, address: bytes, attempt: int, reference: Reference, culprit: Culprit) -> Iterator[IO[bytes]]:
        """Give a copy of a file that was verified, in memory if it is small. Raises SpillDamaged, SpillUnavailable."""
        name = _file_name(address, attempt, reference)
        copy = self._spill.taken(f"{self._path}/{name}") or self._verified(name, reference, culprit)
        copy.seek(0)
        yield copy
        self._spill.keep(f"{self._path}/{name}", copy, reference.size)

    def _verified(self, name: str, reference: Reference, culprit: Culprit) -> Copy:
        copy = Copy(max_size=_IN_MEMORY_BYTES)
        with _reaching(self.shown, "read"):
            try:
                with self._files.open(f"{self._path}/{name}", "rb") as source:
                    content = _copied(source, copy, reference.size)
            except FileNotFoundError:
                remedy = "keep files as long as their run; take the node that wrote it back with retry_from()"
                raise SpillDamaged(named(culprit), f"its file {self.shown}/{name} is missing", remedy) from None
        if content != (reference.size, bytes.fromhex(reference.digest)):
            remedy = "keep others from writing there; take the node that wrote it back with retry_from()"
            raise SpillDamaged(named(culprit), f"its file {self.shown}/{name} was changed", remedy)
        return copy


class Copy(tempfile.SpooledTemporaryFile[bytes]):
    """A copy of a file in memory, or beyond a bound in a temporary file that goes with it."""

    def __del__(self) -> None:
        self.close()


def reading(
    folder: Folder | None, address: bytes, attempt: int, data: bytes | memoryview, culprit: Culprit
) -> AbstractContextManager[IO[bytes]]:
    """Give the file that `data` refers to. Raises NotConfigured without a folder, and what `Folder.reading` raises."""
    if folder is None:
        raise NotConfigured(
            f"{named(culprit)} is kept in a file, and this process does not know where",
            f"set {VARIABLE} to the same URL on the client and its workers",
        )
    return folder.reading(address, attempt, Reference.parse(data, culprit), culprit)


def _opened(url: str, shown: str) -> tuple[Any, str]:
    """The file system that a URL means, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise NotConfigured(
            f"{VARIABLE} is set, and fsspec is not installed", "pip install 'dagcelery[spill]'"
        ) from error
    try:
        files, root = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise NotConfigured(f"{VARIABLE} is {shown}, and what opens it is not installed", str(error)) from error
    except Exception as error:  # whatever a file system says to what it is given
        remedy = "write one such as file:///var/dagcelery or s3://bucket/folder"
        raise InvalidSetting(VARIABLE, f"is {shown}, which cannot be opened: {error}", remedy) from error
    return files, str(root).rstrip("/")


@contextmanager
def _reaching(shown: str, verb: str) -> Iterator[None]:
    """Say in our words what a file system cannot do; each has errors of its own."""
    try:
        yield
    except DagceleryError:
        raise
    except Exception as error:
        raise SpillUnavailable(shown, verb, f"{type(error).__name__}: {error}") from error


def _copied(source: IO[bytes], target: IO[bytes] | None, most: int | None = None) -> tuple[int, bytes]:
    """Read a file to its end, or a little more than `most` bytes of it: their number, and their SHA-256."""
    size, digest = 0, hashlib.sha256()
    while (most is None or size <= most) and (part := source.read(_COPY_BYTES)):
        size += len(part)
        digest.update(part)
        if target is not None:
            target.write(part)
    return size, digest.digest()


def _folder_name(run_id: str) -> str:
    """Our run ids are good names for folders; of any other id only a hash is fit for a path."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", run_id):
        return run_id
    return hashlib.sha256(run_id.encode(errors="backslashreplace")).hexdigest()


def _file_name(address: bytes, attempt: int, reference: Reference) -> str:
    return f"{hashlib.sha256(attempted(address, attempt)).hexdigest()[:32]}-{reference.digest}"
