"""A cluster whose worker says all that it can: on the level DEBUG, and with events."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagcelery.client import set_default
from dagcelery.local import Cluster, cluster
from dagcelery.local.cluster import default_client

sys.path.insert(0, str(Path(__file__).parent / "userland"))


@pytest.fixture(scope="session")
def talkative_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the talkative worker says."""
    return tmp_path_factory.mktemp("talkative") / "worker.log"


@pytest.fixture(scope="session")
def session_talkative(talkative_log: Path) -> Iterator[Cluster]:
    with cluster(workers=1, log=talkative_log, log_level="DEBUG", events=True, modules=["guarded"]) as made:
        set_default(None)
        yield made


@pytest.fixture
def talkative(session_talkative: Cluster) -> Iterator[Cluster]:
    """The cluster; its client is the default for the length of a test."""
    with default_client(session_talkative.client):
        yield session_talkative
