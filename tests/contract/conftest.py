"""Both stores, and a look at every key that a test leaves behind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from dagcelery.local import Server
from dagcelery.store import in_process
from dagcelery.store.in_process import store_in_process
from dagcelery.store.protocol import Store
from dagcelery.store.redis import store_on_redis

OF_EVERY_RUN = (b"k", b"c", b"t", b"n", b"e", b"w", b"s:0", b"o:0")
LISTS_OF_NO_RUN = (b"dagcelery:key:", b"dagcelery:runs", b"dagcelery:{cache:", b"dagcelery:{counters}")
OF_NO_RUN = (b"dagcelery:workers", b"dagcelery:active", b"dagcelery:spilled", b"dagcelery:queues")


@pytest.fixture
def raw(server: Server) -> Iterator[redis.Redis]:
    """A plain client of the server; the database is empty."""
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def redis_store(server: Server, raw: redis.Redis) -> Iterator[Store]:
    """The store on Redis. After the test every key has a TTL, and every key of a run is in its registry."""
    store = store_on_redis(server.url)
    yield store
    store.close()
    check_keys(raw)


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn."""
    if request.param == "memory":
        memory: Store = store_in_process()
        return memory
    on_redis: Store = request.getfixturevalue("redis_store")
    return on_redis


@pytest.fixture(scope="session", autouse=True)
def _no_script_changes_what_it_decoded() -> Iterator[None]:
    """The host decodes a text once, for all that come with it: after all tests each is still what was decoded."""
    yield
    for text, found in in_process._host().decoded().items():
        expected = json.loads(text, parse_float=lambda number: float(f"{float(number):.14g}"))  # as Lua writes it
        assert json.loads(in_process._host().encode(found)) == _without_empty_lists(expected)


def _without_empty_lists(value: Any) -> Any:
    """JSON as Lua has it, where an empty list is an empty table."""
    if isinstance(value, list):
        return [_without_empty_lists(each) for each in value] or {}
    return {name: _without_empty_lists(each) for name, each in value.items()} if isinstance(value, dict) else value


def check_keys(raw: redis.Redis) -> None:
    """Every key has a TTL; every key of a run shares the run's hash tag and stands in its registry."""
    for name in raw.scan_iter(count=1000):
        assert raw.pttl(name) > 0 or not raw.exists(name), f"{name.decode()} has no TTL"
        if name in OF_NO_RUN or name.startswith(LISTS_OF_NO_RUN):
            continue
        found = re.fullmatch(rb"(dagcelery:\{[^}]+\})(?::(.+))?", name, re.DOTALL)
        assert found, f"{name.decode()} is outside of its run"
        run, below = found.groups()
        if below and below not in OF_EVERY_RUN and not below.startswith(b"r:"):
            assert raw.sismember((run + b":k").decode(), below.decode()), f"{name.decode()} is not in the registry"
