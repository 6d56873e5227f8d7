"""Where values stand that the stages of a run hand to each other by name: beside the run, in a Redis, or in files.

What is kept is sealed by whoever gives it; a keeper knows bytes only. Names are hashed, so that they may be any text.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

import redis

from dagcelery.errors import InvalidDagType, RunNotFound, StoreUnavailable
from dagcelery.store.base import Store
from dagcelery.store.memory import MemoryStore
from dagcelery.store.redis import RedisStore, key

TTL_SECONDS: Final = 7 * 86400
"""How long a value lives in a Redis that knows nothing of its run."""


class Keeper(Protocol):
    """What keeps bytes by run and name; the last ones that were put are got."""

    def put(self, run_id: str, name: str, data: bytes) -> None:
        """Keep bytes in the place of those of that name."""

    def get(self, run_id: str, name: str) -> bytes | None:
        """Return the bytes of that name; None if there are none."""

    def drop(self, run_id: str, name: str) -> None:
        """Forget the bytes of that name, if there are any."""

    def forget(self, run_id: str) -> None:
        """Forget what would otherwise stay when a run is over."""


def beside(store: Store) -> Keeper:
    """Return the keeper that a store's own runs have; the values of a run live as long as the run."""
    found = _beside.get(store)
    if found is None:
        found = _beside[store] = RunKeeper(store.url) if isinstance(store, RedisStore) else MemoryKeeper()
    return found


def forget_with(store: Store, keeper: Keeper, run_id: str) -> None:
    """Forget what a keeper has of a run when the store does that remembers it in memory."""
    if isinstance(store, MemoryStore):
        weakref.finalize(store, keeper.forget, run_id)


def elsewhere(client: object) -> Keeper:
    """Return a keeper in the Redis that a user's client speaks to; it may travel to other processes."""
    if not isinstance(client, redis.Redis):
        right = "give redis.Redis(...), or leave it out"
        raise InvalidDagType(f"redis_instance={client!r}", "is no client of a Redis", right)
    pool = client.connection_pool
    plain = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if value is None or isinstance(value, str | int | float)
    }
    return RedisKeeper(pool.connection_class, plain | {"decode_responses": False})


class MemoryKeeper:
    """Keeps bytes in this process."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], bytes] = {}

    def put(self, run_id: str, name: str, data: bytes) -> None:
        self._kept[run_id, name] = data

    def get(self, run_id: str, name: str) -> bytes | None:
        return self._kept.get((run_id, name))

    def drop(self, run_id: str, name: str) -> None:
        self._kept.pop((run_id, name), None)

    def forget(self, run_id: str) -> None:
        """What is kept goes with this object."""


class RunKeeper:
    """Keeps bytes among the keys of a run, which share its hash tag, its registry and its time to live."""

    def __init__(self, url: str) -> None:
        self._client: Any = redis.Redis.from_url(url, retry=_retry())

    def put(self, run_id: str, name: str, data: bytes) -> None:
        with _reachable():
            ttl = self._client.hget(key(run_id), "ttl")
            if ttl is None:
                raise RunNotFound(run_id)
            # The registry is what deletes them, and what gives them more time.
            writes = self._client.pipeline().sadd(key(run_id, "k"), _short(name)).expire(key(run_id, "k"), int(ttl))
            writes.set(key(run_id, _short(name)), data, ex=int(ttl)).execute()

    def get(self, run_id: str, name: str) -> bytes | None:
        with _reachable():
            return cast("bytes | None", self._client.get(key(run_id, _short(name))))

    def drop(self, run_id: str, name: str) -> None:
        with _reachable():
            self._client.unlink(key(run_id, _short(name)))

    def forget(self, run_id: str) -> None:
        """The run's own keys are deleted with it."""


class RedisKeeper:
    """Keeps bytes in a Redis of a user's choice, each with a time to live."""

    def __init__(self, connection_class: type[Any], arguments: Mapping[str, Any]) -> None:
        self._made_of = connection_class, dict(arguments)
        pool = redis.ConnectionPool(connection_class, **self._made_of[1], retry=_retry())
        self._client: Any = redis.Redis(connection_pool=pool)

    def __reduce__(self) -> tuple[object, ...]:
        return RedisKeeper, self._made_of

    def put(self, run_id: str, name: str, data: bytes) -> None:
        with _reachable():
            self._client.set(key(run_id, _short(name)), data, ex=TTL_SECONDS)

    def get(self, run_id: str, name: str) -> bytes | None:
        with _reachable():
            return cast("bytes | None", self._client.get(key(run_id, _short(name))))

    def drop(self, run_id: str, name: str) -> None:
        with _reachable():
            self._client.unlink(key(run_id, _short(name)))

    def forget(self, run_id: str) -> None:
        """They expire."""


@dataclass(frozen=True, slots=True)
class FolderKeeper:
    """Keeps bytes in files: a folder for each run, a file for each name; a file is whole or not there."""

    folder: str

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

    def forget(self, run_id: str) -> None:
        shutil.rmtree(self._path(run_id, "").parent, ignore_errors=True)

    def _path(self, run_id: str, name: str) -> Path:
        return Path(self.folder, hashlib.sha256(run_id.encode()).hexdigest()[:32], _short(name).partition(":")[2])


_beside: weakref.WeakKeyDictionary[Store, Keeper] = weakref.WeakKeyDictionary()


def _short(name: str) -> str:
    """Spell the name of what is kept, below its run's key."""
    return f"kept:{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _retry() -> Any:
    return redis.retry.Retry(redis.backoff.ExponentialBackoff(cap=0.5, base=0.02), 3)


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except redis.exceptions.RedisError as error:
        raise StoreUnavailable(str(error)) from error
