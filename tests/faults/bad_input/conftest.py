"""A server that is empty, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from dagcelery.client import Client
from dagcelery.local import Server
from dagcelery.settings import Settings


@pytest.fixture
def raw(server: Server) -> Iterator[redis.Redis]:
    """The server itself, which is the store and the broker, and is empty."""
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def client_of(server: Server) -> Callable[..., Client]:
    """Make a client of the server with these settings; it has a signing key unless they say otherwise."""

    def made(**settings: Any) -> Client:
        return Client(Settings(**{"broker_url": server.url, "store_url": server.url, "signing_key": "key", **settings}))

    return made
