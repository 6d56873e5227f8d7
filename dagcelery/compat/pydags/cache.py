"""`pydags.cache`: bytes by name, in the Redis or in the disk cache that the user passes.

They stand there under their names, without a time to live, as any program may read them; nothing of it is in
dagcelery's own store.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import Any

from dagcelery.errors import DagceleryError
from dagcelery.text import shown

__all__ = [
    "Cache",
    "DiskCache",
    "InvalidCacheTypeException",
    "InvalidKeyTypeException",
    "InvalidValueTypeException",
    "RedisCache",
]


class InvalidCacheTypeException(DagceleryError, TypeError):
    """What was given as a cache is none."""


class InvalidKeyTypeException(DagceleryError, TypeError):
    """A key is not a text."""


class InvalidValueTypeException(DagceleryError, TypeError):
    """A value is neither text nor bytes."""


class Cache(ABC):
    """Keeps values by name."""

    @abstractmethod
    def read(self, k: str) -> Any:
        """Return the value of that name."""

    @abstractmethod
    def write(self, k: str, v: Any) -> None:
        """Keep a value under a name."""

    @abstractmethod
    def delete(self, k: str) -> None:
        """Forget the value of that name, if there is one."""


class RedisCache(Cache):
    """Keeps bytes in a Redis; a copy of it that travels to another process connects anew."""

    def __init__(self, redis_instance: Any) -> None:
        _check_kind("redis_instance", redis_instance, "redis", "Redis")
        self.redis_instance = redis_instance

    def read(self, k: str) -> Any:
        """Return the bytes of that name; None if there are none."""
        return self._redis().get(_key(k))

    def write(self, k: str, v: Any) -> None:
        """Keep text or bytes under a name."""
        self._redis().set(_key(k), _value(k, v))

    def delete(self, k: str) -> None:
        """Forget what that name has."""
        self._redis().delete(_key(k))

    def _redis(self) -> Any:
        if self.redis_instance is None:  # that of a pipeline is optional
            raise InvalidCacheTypeException(f"{self!r}", "has no Redis", "give it one, a redis.Redis")
        return self.redis_instance

    def __getstate__(self) -> dict[str, Any]:
        inherited: Any = super().__getstate__()
        return {**inherited, "redis_instance": parts_of(self.redis_instance)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, redis_instance=client_of(state["redis_instance"]))


class DiskCache(Cache):
    """Keeps bytes in a `diskcache.Cache`."""

    def __init__(self, disk_cache: Any) -> None:
        _check_kind("disk_cache", disk_cache, "diskcache", "Cache")
        self.disk_cache = disk_cache

    def read(self, k: str) -> Any:
        """Return the bytes of that name. Raises KeyError."""
        return self.disk_cache[_key(k)]

    def write(self, k: str, v: Any) -> None:
        """Keep text or bytes under a name."""
        self.disk_cache[_key(k)] = _value(k, v)

    def delete(self, k: str) -> None:
        """Forget what that name has."""
        self.disk_cache.delete(_key(k))


def parts_of(client: Any) -> tuple[Any, ...] | None:
    """Return what a client of a Redis can be made of in another process: classes, and settings that are plain."""
    if client is None:
        return None
    pool = client.connection_pool
    plain = {name: value for name, value in pool.connection_kwargs.items() if type(value) in _PLAIN}
    return type(client), type(pool), pool.connection_class, plain


def client_of(parts: tuple[Any, ...] | None) -> Any:
    """Return a client that is made of those parts."""
    if parts is None:
        return None
    kind, pool, connection, plain = parts
    return kind(connection_pool=pool(connection_class=connection, **plain))


_PLAIN = (type(None), str, bytes, int, float, bool)


def _check_kind(name: str, cache: object, module: str, kind: str) -> None:
    found = getattr(sys.modules.get(module), kind, None)  # who has such an object has imported its module
    if found is None or not isinstance(cache, found):
        remedy = f"give a {module}.{kind}"
        raise InvalidCacheTypeException(f"{name}={shown(cache)}", f"is of type {type(cache).__name__}", remedy)


def _key(k: object) -> str:
    if not isinstance(k, str):
        raise InvalidKeyTypeException(f"key {shown(k)}", f"is of type {type(k).__name__}", "give a str")
    return k


def _value(k: str, v: object) -> str | bytes:
    if not isinstance(v, str | bytes):
        problem = f"is of type {type(v).__name__}"
        raise InvalidValueTypeException(f"the value of key {k!r}", problem, "give a str or bytes")
    return v
