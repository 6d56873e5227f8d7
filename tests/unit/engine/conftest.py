"""Stores for the tests of the engine: on Redis, or each in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from dagcelery.local import Server
from dagcelery.store.in_process import store_in_process
from dagcelery.store.protocol import Store
from dagcelery.store.redis import store_on_redis


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    """A store on Redis, which is empty."""
    store = store_on_redis(server.url)
    yield store
    store.close()


@pytest.fixture
def raw(server: Server) -> Iterator[redis.Redis]:
    """A plain client of the same server."""
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture(params=["memory", "redis"])
def each_store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn."""
    return store_in_process() if request.param == "memory" else request.getfixturevalue("store")
