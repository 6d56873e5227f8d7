"""One embedded server and one local cluster for the whole session; each test gets them clean."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import redis
from hypothesis import settings

from dagcelery.client import set_default
from dagcelery.local import Cluster, Server
from dagcelery.local import cluster as local_cluster
from dagcelery.local.cluster import default_client

# The same examples every time: a change is blamed for what it breaks alone. HYPOTHESIS_PROFILE=default draws others.
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def session_server() -> Iterator[Server]:
    """A server that lives as long as the tests do."""
    with Server() as server:
        yield server


@pytest.fixture
def server(session_server: Server) -> Server:
    """A server that is up and empty."""
    session_server.start()
    with redis.Redis.from_url(session_server.url) as client:
        client.flushall()
    return session_server


@pytest.fixture(scope="session")
def session_cluster() -> Iterator[Cluster]:
    """Two worker processes that tolerate gpu, and nobody's default."""
    with local_cluster(workers=2, taints=("gpu",)) as cluster:
        set_default(None)
        yield cluster


@pytest.fixture
def cluster(session_cluster: Cluster) -> Iterator[Cluster]:
    """A local cluster with two worker processes that tolerate gpu: the default for the length of a test."""
    with default_client(session_cluster.client):
        yield session_cluster


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings do not reach the tests."""
    for name in list(os.environ):
        if name.startswith(("DAGCELERY_", "CELERY_")):
            monkeypatch.delenv(name)
