"""Results of tasks that are kept for other runs: in this process, or in Redis under keys that belong to no run."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from dagcelery.store import wire
from dagcelery.store.base import CHUNK_BYTES, INLINE_BYTES
from dagcelery.store.wire import STAGED

MEMORY_BYTES: Final = 64 * 1024 * 1024
"""What a process keeps at most; then it drops what it has kept for longest."""
_READ_AT_ONCE: Final = 50
_KEPT_AT_ONCE: Final = 150
"""Each costs up to five fields: a result, its name, that of its chunks, and two names of what has expired."""

Run = Callable[..., Any]


class MemoryCache:
    """Keeps results in this process."""

    def __init__(self, most_bytes: int = MEMORY_BYTES) -> None:
        self._kept: dict[tuple[str, str], tuple[float, bytes]] = {}
        self._left = most_bytes
        self._lock = threading.Lock()

    def recall(self, task: str, entries: Sequence[str]) -> list[bytes | None]:
        """Return the results of a task by name, None where there is none."""
        with self._lock:
            return [self._get((task, entry)) for entry in entries]

    def memorize(self, task: str, entries: Mapping[str, bytes], ttl_seconds: float) -> None:
        """Keep results of a task for a time."""
        with self._lock:
            for entry, data in entries.items():
                self._drop((task, entry))
                self._kept[task, entry] = (time.monotonic() + ttl_seconds, data)
                self._left -= len(data)
            while self._left < 0:
                self._drop(next(iter(self._kept)))

    def forget(self, task: str) -> int:
        """Drop all results of a task; answers how many there were."""
        with self._lock:
            found = [place for place in self._kept if place[0] == task]
            for place in found:
                self._drop(place)
            return len(found)

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


def recall(client: Any, at: str, entries: Sequence[str]) -> list[bytes | None]:
    """Return what stands under names below the key `at`, read in bounded portions in one round trip."""
    reads = client.pipeline(transaction=False)
    for portion in wire.portions(entries, _READ_AT_ONCE):
        reads.mget([f"{at}:{entry}" for entry in portion])
    found: list[bytes | None] = [data for row in reads.execute() for data in row]
    return [_whole(client, at, data) if data and data[:1] == STAGED else data for data in found]


def memorize(client: Any, run: Run, at: str, entries: Mapping[str, bytes], ttl_seconds: float) -> None:
    """Keep bytes under names below the key `at`; large ones are written in chunks before they get their name."""
    ttl, chunks = max(1, int(ttl_seconds * 1000)), dict[str, str]()

    def small() -> Iterator[tuple[str, bytes]]:
        for entry, data in entries.items():
            if len(data) > INLINE_BYTES:
                chunks[entry] = _staged(client, at, entry, data, ttl)
                yield entry, STAGED + chunks[entry].encode()
            else:
                yield entry, data

    for bounded in wire.bounded(small()):
        for portion in wire.portions(bounded, _KEPT_AT_ONCE):
            names = [entry for entry, _ in portion]
            request = {"names": names, "chunks": [chunks[name] for name in names if name in chunks], "ttl": ttl}
            run("memorize", at, request, *(data for _, data in portion))


def forget(run: Run, at: str) -> int:
    """Drop all that stands below the key `at`; answers how many results there were."""
    dropped, names = 0, 1
    while names:
        names, results = run("forget", at, {})
        dropped += int(results)
    return dropped


def _staged(client: Any, at: str, entry: str, data: bytes, ttl: int) -> str:
    """Write chunks under a name that nobody else has, so that two who write the same do not mix."""
    name = f"x:{entry}:{uuid.uuid4().hex[:16]}"
    for number, start in enumerate(range(0, len(data), CHUNK_BYTES)):
        # In one transaction: no key is ever without a time to live.
        writes = client.pipeline().hset(f"{at}:{name}", str(number), data[start : start + CHUNK_BYTES])
        writes.pexpire(f"{at}:{name}", ttl).execute()
    return name


def _whole(client: Any, at: str, data: bytes) -> bytes | None:
    """Read chunks; None where some are gone, since nobody promised to keep them."""
    name = f"{at}:{data[1:].decode()}"
    chunks = [client.hget(name, str(number)) for number in range(client.hlen(name))]
    return None if not chunks or None in chunks else b"".join(chunks)
