"""A connection to Redis or Valkey, and the keys of no run: workers, lists of runs, reservations, caches, files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import redis

from dagcelery.errors import InvalidSetting, StoreRefused, StoreUnavailable
from dagcelery.store import cached, wire
from dagcelery.store.scripts import Scripts
from dagcelery.text import masked

WORKERS = "dagcelery:workers"
ACTIVE = "dagcelery:active"
RUNS = "dagcelery:runs"
SPILLED = "dagcelery:spilled"
REFUSALS = (
    redis.exceptions.AuthenticationError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
)
"""A server answers, and does not do it. Nothing was written: a script is refused before its first write."""
_GLOBAL_TTL_SECONDS = 30 * 86400


def key(run_id: str, *parts: object) -> str:
    """Spell the name of a key of a run; what stands below a run's key is listed in lua/prelude.lua."""
    return ":".join(("dagcelery:{" + run_id + "}", *map(str, parts)))


def runs_key(name: str = "") -> str:
    """Spell the name of the key that lists all runs, or those of one DAG; hashed as reservations are."""
    return RUNS + (":" + hashlib.sha256(name.encode()).hexdigest()[:40] if name else "")


def reservation_key(reservation: str) -> str:
    """Spell the name of the key that keeps a reservation; hashed, so that nobody's text is part of a name."""
    return "dagcelery:key:" + hashlib.sha256(reservation.encode()).hexdigest()[:40]


def limit_key(limit: str) -> str:
    """Spell the name of the key that keeps who is inside of a limit."""
    return "dagcelery:{limit:" + hashlib.sha256(limit.encode()).hexdigest()[:40] + "}"


def cache_key(task: str) -> str:
    """Spell the name of the key that lists what is kept of a task's results; they stand below it."""
    return "dagcelery:{cache:" + hashlib.sha256(task.encode()).hexdigest()[:40] + "}"


def client_of(url: str, **options: Any) -> Any:
    """Return a client, which connects when it is used. InvalidSetting where the URL says what redis-py cannot read."""
    try:
        client = redis.Redis.from_url(url, **options)
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # a name that is unknown would be noticed late
    except (TypeError, ValueError) as error:
        right = "leave the options behind its ? out, or write them as redis-py has them, such as ?socket_timeout=5"
        raise InvalidSetting("store_url", f"has an option that cannot be: {error}", right) from error
    return client


@contextmanager
def reachable(shown_url: str) -> Iterator[None]:
    """Raise StoreRefused and StoreUnavailable where the client of a server raises what they stand for."""
    try:
        yield
    except REFUSALS as error:
        raise StoreRefused(str(error), shown_url) from error
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
        raise StoreUnavailable(str(error), shown_url) from error


def ping(client: Any, shown_url: str) -> None:
    """Raise StoreUnavailable unless the server answers, and lets this user in."""
    try:
        with reachable(shown_url):
            client.ping()
    except redis.exceptions.ResponseError as error:  # a server that answers, but has no such database
        raise StoreUnavailable(str(error), shown_url) from error


class Connection:
    """One Redis client, which may be shared by threads."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        self.shown_url = masked(url)
        # A client made from a URL repeats nothing by itself.
        retry = redis.retry.Retry(redis.backoff.ExponentialBackoff(cap=0.5, base=0.02), 3)
        # A host that vanishes without a word must not stop a worker's signs of life.
        timeouts = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0, "socket_keepalive": True}
        if url.startswith("unix"):
            del timeouts["socket_connect_timeout"], timeouts["socket_keepalive"]
        self._options = {"retry": retry} | timeouts | options
        self._client: Any = client_of(url, **self._options)
        self._scripts = Scripts(self._client)

    def _reachable(self) -> AbstractContextManager[None]:
        return reachable(self.shown_url)

    def ping(self) -> None:
        ping(self._client, self.shown_url)

    def close(self) -> None:
        """Close the connections of all threads."""
        self._scripts.close()
        self._client.close()

    def reserve(self, reservation: str, run_id: str, ttl_seconds: int, instead_of: str = "") -> str:
        request = {"run": run_id, "instead_of": instead_of, "ttl": ttl_seconds}
        with self._reachable():
            return str(self._scripts.run("reserve", reservation_key(reservation), request).decode())

    # -- limits -----------------------------------------------------------------------------------
    def enter(self, limit: str, member: str, waiter: str, most: int, gone: Sequence[str] = ()) -> bool:
        request = {"verb": "enter", "member": member, "waiter": waiter, "most": most, "gone": list(gone)}
        return bool(self._limit(limit, request))

    def leave(self, limit: str, member: str, most: int) -> Sequence[str]:
        return [waiter.decode() for waiter in self._limit(limit, {"verb": "leave", "member": member, "most": most})]

    def inside(self, limit: str) -> Sequence[str]:
        with self._reachable():
            return [member.decode() for member in self._client.zrange(limit_key(limit), 0, 999)]

    def _limit(self, limit: str, request: dict[str, Any]) -> Any:
        with self._reachable():
            return self._scripts.run("limit", limit_key(limit), request | {"ttl": _GLOBAL_TTL_SECONDS})

    # -- results that are kept for other runs -----------------------------------------------------
    def recall(self, task: str, entries: Sequence[str]) -> Sequence[bytes | None]:
        with self._reachable():
            return cached.recall(self._client, cache_key(task), entries)

    def memorize(self, task: str, entries: Mapping[str, bytes], ttl_seconds: float) -> None:
        with self._reachable():
            cached.memorize(self._client, self._scripts.run, cache_key(task), entries, ttl_seconds)

    def forget(self, task: str) -> int:
        with self._reachable():
            return cached.forget(self._scripts.run, cache_key(task))

    # -- workers ----------------------------------------------------------------------------------
    def announce(
        self,
        boot: str,
        queues: Sequence[str],
        slots: int,
        messages: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
    ) -> None:
        short = None if messages is None else [name[: wire.MESSAGE_CHARACTERS] for name in messages]
        with self._reachable():
            seconds, micros = self._client.time()
            word = {"queues": list(queues), "slots": slots, "messages": short, "at": seconds + micros / 1e6}
            word["keys"] = None if keys is None else list(keys)
            self._client.hset(WORKERS, boot, json.dumps(word))
            self._client.expire(WORKERS, 86400)

    def retire(self, boot: str) -> None:
        with self._reachable():
            self._client.hdel(WORKERS, boot)

    def workers(self) -> Mapping[str, Mapping[str, Any]]:
        with self._reachable():
            seconds, micros = self._client.time()
            found = {boot.decode(): json.loads(word) for boot, word in self._client.hgetall(WORKERS).items()}
        return {boot: word | {"age": seconds + micros / 1e6 - word["at"]} for boot, word in found.items()}

    # -- files ------------------------------------------------------------------------------------
    def spills(self, run_id: str) -> None:
        self._look({"run": run_id, "delay": 0}, SPILLED)

    def spilled(self, limit: int, wait_seconds: float) -> Sequence[str]:
        return [run.decode() for run in self._look({"wait": wait_seconds, "limit": limit}, SPILLED)]

    def unspilled(self, run_id: str) -> None:
        with self._reachable():
            self._client.zrem(SPILLED, run_id)

    def _look(self, request: dict[str, Any], among: str = ACTIVE) -> list[bytes]:
        with self._reachable():
            found: list[bytes] = self._scripts.run("look", among, request | {"ttl": _GLOBAL_TTL_SECONDS})
        return found
