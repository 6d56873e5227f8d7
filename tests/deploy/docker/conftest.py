"""The composed installation for real, once for all its tests: only with TESTS_DOCKER=1, and a Docker engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagcelery.client import Client, set_default

from .installation import Installation

HERE = Path(__file__).parent

sys.path.insert(0, str(HERE / "userland"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in this folder where nobody asked for it, and say what would be right."""
    if os.environ.get("TESTS_DOCKER") != "1":
        skip = pytest.mark.skip(reason="starts containers: set TESTS_DOCKER=1 where a Docker engine runs")
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """All services, up; gone with their volume at the end."""
    made = Installation()
    try:
        made.do("up", "--detach", "--build")
        yield made
    finally:
        made.compose("down", "--volumes", "--timeout", "5")


@pytest.fixture
def client(installation: Installation) -> Iterator[Client]:
    """A client on this machine, the default for the length of a test."""
    made = Client(installation.settings())
    replaced = set_default(made)
    yield made
    set_default(replaced)
