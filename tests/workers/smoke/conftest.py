"""pytest-celery's setup with a Redis and two workers, as processes of this machine; in containers with TESTS_DOCKER=1.

Tests ask for `celery_setup`, as pytest-celery's users do, and cannot tell which of the two it is.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestContainer,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
    RedisTestBackend,
    RedisTestBroker,
)

from dagcelery import attach
from dagcelery.client import Client, set_default

IN_CONTAINERS = os.environ.get("TESTS_DOCKER") == "1"

if IN_CONTAINERS:
    from .containers import *  # noqa: F403
else:
    from .processes import *  # noqa: F403

sys.path.insert(0, str(Path(__file__).parent / "userland"))


@pytest.fixture(scope="module")
def quick() -> dict[str, str]:
    """Settings under which a death is noticed within a second or so."""
    return {"DAGCELERY_HEARTBEAT_SECONDS": "0.2", "DAGCELERY_DEAD_SECONDS": "1"}


@pytest.fixture(scope="module")
def signing_key() -> str:
    """The key that clients and workers share."""
    return secrets.token_hex(32)


@pytest.fixture
def celery_broker_cluster(server: CeleryTestContainer) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(RedisTestBroker(server))


@pytest.fixture
def celery_backend_cluster(server: CeleryTestContainer) -> CeleryBackendCluster:
    return CeleryBackendCluster(RedisTestBackend(server))


@pytest.fixture
def celery_worker_cluster(workers: list[CeleryTestContainer], celery_setup_app: Celery) -> CeleryWorkerCluster:
    return CeleryWorkerCluster(*(CeleryTestWorker(each, celery_setup_app) for each in workers))


@pytest.fixture
def client(celery_setup: CeleryTestSetup, signing_key: str) -> Iterator[Client]:
    """The default client, attached to pytest-celery's app."""
    replaced = set_default(None)
    yield attach(celery_setup.app, signing_key=signing_key)
    set_default(replaced)
