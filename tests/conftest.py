"""One embedded server, and our own plug-in's cluster, for the whole session; each test gets them clean."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from hypothesis import settings

from dagcelery import attach
from dagcelery.client import set_default
from dagcelery.local import Cluster, Server

# A checkout that is not installed has no entry points; where it is, pytest has loaded the plug-in already.
pytest_plugins = ["dagcelery.testing.plugin"]

# The same examples every time: a change is blamed for what it breaks alone. HYPOTHESIS_PROFILE=default draws others.
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure() -> None:
    """Let SIGINT interrupt the tests and what they start, though a shell ignores it for jobs in its background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# Folders whose files take long, with processes of their own, and the longest of them first.
LONG = (
    *("docs/examples", "deploy", "workers/end_to_end", "workers", "faults/chaos"),
    *("contract", "unit/cli", "unit/local"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long: begun last, one file would keep one core busy while the others have nothing to do."""
    places = [Path(__file__).parent / folder for folder in LONG]
    order = {path: [not path.is_relative_to(place) for place in places] for path in {item.path for item in items}}
    items.sort(key=lambda item: order[item.path])


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
def dag_cluster_options() -> dict[str, Any]:
    """Two worker processes that tolerate gpu."""
    return {"workers": 2, "taints": ("gpu",)}


@pytest.fixture
def cluster(dag_cluster: Cluster) -> Cluster:
    """The plug-in's cluster by a shorter name: the default for the length of a test, and clean."""
    return dag_cluster


@pytest.fixture
def eager() -> Iterator[Celery]:
    """A team's own app, to which dagcelery is attached: what `submit` sends is run at once, in this process."""
    app = Celery("team", broker="memory://")
    app.conf.task_always_eager = True
    replaced = set_default(None)
    attach(app)
    yield app
    set_default(replaced)


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings do not reach the tests."""
    for name in list(os.environ):
        if name.startswith(("DAGCELERY_", "CELERY_")):
            monkeypatch.delenv(name)
