"""One site with three workers for all end-to-end tests: booting them takes longer than the tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dagcelery.client import set_default
from dagcelery.local import Cluster, cluster
from unit.hooks.mailbox import Mailbox

from .several_servers import store_client
from .site import USERLAND, Site, site
from .surroundings import CHOSEN, SURROUNDINGS, missing

sys.path.insert(0, str(USERLAND))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say so, for each test, where the chosen surroundings cannot be had."""
    if CHOSEN not in SURROUNDINGS:
        raise pytest.UsageError(f"DAGCELERY_TEST_SURROUNDINGS={CHOSEN}: choose one of {', '.join(SURROUNDINGS)}")
    if reason := missing():
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that userland/listeners.py writes to."""
    return tmp_path_factory.mktemp("heard") / "signals"


@pytest.fixture(scope="session")
def session_site(heard: Path) -> Iterator[Site]:
    """A worker for untainted work (and what is ssd, too), one for gpu, and one that is watched."""
    with site() as made:
        set_default(None)
        made.hire("cpu", "-c", "2", "-Q", "celery,bulk,gpu+ssd")
        made.hire("gpu", "-c", "1", "-Q", "gpu")
        made.hire("watched", "-c", "1", "-Q", "watched", "-E", "-I", "listeners", env={"HEARD": str(heard)})
        made.await_ready()
        yield made


@pytest.fixture
def at(session_site: Site) -> Iterator[Site]:
    """The site; its client is the default for the length of a test."""
    replaced = set_default(session_site.client)
    yield session_site
    set_default(replaced)


@pytest.fixture(scope="session")
def notices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the hooks of userland/hardships.py write to."""
    return tmp_path_factory.mktemp("noticed") / "notices"


@pytest.fixture(scope="session")
def mailbox() -> Iterator[Mailbox]:
    """The SMTP server of the workers that sweep often."""
    with Mailbox() as made:
        yield made


@pytest.fixture(scope="session")
def session_hard(notices: Path, mailbox: Mailbox) -> Iterator[Cluster]:
    """Two processes and one for the queue solo, which sweep often and take a silent worker for dead after a second."""
    quick = {"DAGCELERY_HEARTBEAT_SECONDS": "0.2", "DAGCELERY_DEAD_SECONDS": "1", "NOTICES": str(notices)}
    quick["DAGCELERY_SMTP_URL"] = mailbox.url
    with SURROUNDINGS[CHOSEN]() as addresses, cluster(workers=0, environment=addresses | quick) as made:
        set_default(None)
        made.start_worker(2)
        made.start_worker(1, queues=["solo"])
        yield made


@pytest.fixture
def hard(session_hard: Cluster) -> Iterator[Cluster]:
    """The cluster that sweeps often; its client is the default for the length of a test."""
    replaced = set_default(session_hard.client)
    yield session_hard
    set_default(replaced)


@pytest.fixture
def raw(at: Site) -> Iterator[redis.Redis]:
    """A plain client of the site's Redis."""
    with store_client(at.store_url) as client:
        yield client
