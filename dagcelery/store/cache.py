"""Values that are kept by name: results of tasks for other runs, and what the stages of a run hand to each other.

Results of tasks are kept in this process, or on a server under keys that belong to no run; values of stages beside
their run, or in files. All were sealed before: a place knows bytes only. Names of stages' values are hashed, so that
they may be any text.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

from dagcelery.errors import RunNotFound
from dagcelery.store import wire
from dagcelery.store.keys import Keys, stage_value_key
from dagcelery.store.protocol import Store, StoreServer
from dagcelery.store.records import CHUNK_BYTES, INLINE_BYTES
from dagcelery.store.wire import STAGED

MEMORY_BYTES: Final = 64 * 1024 * 1024
"""What a process keeps at most; then it drops what it has kept for longest."""
_READ_AT_ONCE: Final = 50
_KEPT_AT_ONCE: Final = 150
"""Each costs up to five fields: a result, its name, that of its chunks, and two names of what has expired."""


class MemoryCache:
    """Keeps results in this process. The host's database would not do: no command bounds bytes."""

    def __init__(self, most_bytes: int = MEMORY_BYTES) -> None:
        self._kept: dict[tuple[str, str], tuple[float, bytes]] = {}
        self._left = most_bytes
        self._lock = threading.Lock()

    def get(self, task: str, entries: Sequence[str]) -> list[bytes | None]:
        """Return the results of a task by name, None for those it does not have."""
        with self._lock:
            return [self._get((task, entry)) for entry in entries]

    def set(self, task: str, entries: Mapping[str, bytes], ttl_seconds: float) -> None:
        """Keep results of a task for a time."""
        with self._lock:
            for entry, data in entries.items():
                self._drop((task, entry))
                self._kept[task, entry] = (time.monotonic() + ttl_seconds, data)
                self._left -= len(data)
            while self._left < 0:
                self._drop(next(iter(self._kept)))

    def delete(self, task: str) -> int:
        """Drop all results of a task; answers how many there were."""
        with self._lock:
            places = [place for place in self._kept if place[0] == task]
            for place in places:
                self._drop(place)
            return len(places)

    def clear(self) -> None:
        """Drop all results of all tasks."""
        with self._lock:
            for place in list(self._kept):
                self._drop(place)

    def _get(self, place: tuple[str, str]) -> bytes | None:
        until, data = self._kept.get(place, (0.0, None))
        if data is not None and until <= time.monotonic():
            self._drop(place)
            return None
        return data

    def _drop(self, place: tuple[str, str]) -> None:
        _, data = self._kept.pop(place, (0.0, b""))
        self._left += len(data)


OF_THIS_PROCESS: Final = MemoryCache()
"""What runs in memory share, however many stores they have."""


class ServerCache:
    """Keeps results on a server; large ones are written in chunks before they get their name."""

    def __init__(self, server: StoreServer) -> None:
        self._server = server
        self._keys = server.keys

    def get(self, task: str, entries: Sequence[str]) -> list[bytes | None]:
        at = self._keys.cache(task)
        reads = self._server.client.pipeline(transaction=False)
        for portion in wire.portions(entries, _READ_AT_ONCE):
            reads.mget([f"{at}:{entry}" for entry in portion])
        results: list[bytes | None] = [data for row in reads.execute() for data in row]
        return [self._whole(at, data) if data and data[:1] == STAGED else data for data in results]

    def set(self, task: str, entries: Mapping[str, bytes], ttl_seconds: float) -> None:
        at, ttl, chunks = self._keys.cache(task), max(1, int(ttl_seconds * 1000)), dict[str, str]()

        def small() -> Iterator[tuple[str, bytes]]:
            for entry, data in entries.items():
                if len(data) > INLINE_BYTES:
                    chunks[entry] = self._stage(at, entry, data, ttl)
                    yield entry, STAGED + chunks[entry].encode()
                else:
                    yield entry, data

        for bounded in wire.bounded(small()):
            for portion in wire.portions(bounded, _KEPT_AT_ONCE):
                names = [entry for entry, _ in portion]
                staged = [chunks[name] for name in names if name in chunks]
                request = {"names": names, "chunks": staged, "ttl": ttl}
                self._server.run("cache_set", at, request, *(data for _, data in portion))

    def delete(self, task: str) -> int:
        dropped, names = 0, 1
        while names:
            names, results = self._server.run("cache_delete", self._keys.cache(task), {})
            dropped += int(results)
        return dropped

    def _stage(self, at: str, entry: str, data: bytes, ttl: int) -> str:
        """Write chunks under a name of their own, so that two writers of the same result do not mix."""
        name = f"x:{entry}:{uuid.uuid4().hex[:16]}"
        for number, start in enumerate(range(0, len(data), CHUNK_BYTES)):
            # In one transaction: no key is ever without a time to live.
            writes = self._server.client.pipeline().hset(f"{at}:{name}", str(number), data[start : start + CHUNK_BYTES])
            writes.pexpire(f"{at}:{name}", ttl).execute()
        return name

    def _whole(self, at: str, data: bytes) -> bytes | None:
        """Read chunks; None where some are gone, since they are not promised to stay."""
        name, client = f"{at}:{data[1:].decode()}", self._server.client
        chunks = [client.hget(name, str(number)) for number in range(client.hlen(name))]
        return None if not chunks or None in chunks else b"".join(chunks)


class StageValues(Protocol):
    """Keeps bytes by run and name; the last ones put count."""

    def among(self, keys: Keys) -> StageValues:
        """Return the same place, for a store whose keys have these names."""

    def put(self, run_id: str, name: str, data: bytes) -> None:
        """Keep bytes under a name, and drop those that it had."""

    def get(self, run_id: str, name: str) -> bytes | None:
        """Return the bytes of that name; None if there are none."""

    def drop(self, run_id: str, name: str) -> None:
        """Delete the bytes of that name, if there are any."""

    def delete_all(self, run_id: str) -> None:
        """Delete what would otherwise stay when a run is over."""


def beside(store: Store) -> StageValues:
    """Return the place beside a store's own runs; the values of a run live as long as the run."""
    return ValuesOfRuns(store.server)


def delete_with(store: Store, values: StageValues, run_id: str) -> None:
    """Delete the values of a run when a store in this process, which its runs do not outlive, comes to its end."""
    if store.server.is_in_process:
        weakref.finalize(store, values.delete_all, run_id)


class ValuesOfRuns:
    """Keeps bytes among the keys of a run, which share its hash tag, its registry and its time to live."""

    def __init__(self, server: StoreServer) -> None:
        self._server = server
        self._keys = server.keys

    def among(self, keys: Keys) -> ValuesOfRuns:
        return self

    def put(self, run_id: str, name: str, data: bytes) -> None:
        at, client = stage_value_key(name), self._server.client
        ttl = client.hget(self._keys.run(run_id), "ttl")
        if ttl is None:
            raise RunNotFound(run_id)
        # The registry is what deletes them, and what gives them more time.
        writes = client.pipeline().sadd(self._keys.run(run_id, "k"), at).expire(self._keys.run(run_id, "k"), int(ttl))
        writes.set(self._keys.run(run_id, at), data, ex=int(ttl)).execute()

    def get(self, run_id: str, name: str) -> bytes | None:
        return cast("bytes | None", self._server.client.get(self._keys.run(run_id, stage_value_key(name))))

    def drop(self, run_id: str, name: str) -> None:
        self._server.client.unlink(self._keys.run(run_id, stage_value_key(name)))

    def delete_all(self, run_id: str) -> None:
        """The run's own keys are deleted with it."""


@dataclass(frozen=True, slots=True)
class ValuesInFolder:
    """Keeps bytes in files: a folder for each run, a file for each name; a file is whole or not there."""

    folder: str

    def among(self, keys: Keys) -> ValuesInFolder:
        """Folders have the names of runs, of which there are no two."""
        return self

    def put(self, run_id: str, name: str, data: bytes) -> None:
        path = self._path(run_id, name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, written = tempfile.mkstemp(dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.replace(written, path)
        except BaseException:
            os.unlink(written)
            raise

    def get(self, run_id: str, name: str) -> bytes | None:
        try:
            return self._path(run_id, name).read_bytes()
        except FileNotFoundError:
            return None

    def drop(self, run_id: str, name: str) -> None:
        self._path(run_id, name).unlink(missing_ok=True)

    def delete_all(self, run_id: str) -> None:
        shutil.rmtree(self._path(run_id, "").parent, ignore_errors=True)

    def _path(self, run_id: str, name: str) -> Path:
        return Path(
            self.folder, hashlib.sha256(run_id.encode()).hexdigest()[:32], stage_value_key(name).partition(":")[2]
        )
