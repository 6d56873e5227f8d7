"""Workers that notice deaths soon, and a project for workflows in YAML."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from checkout import EXAMPLES
from dagcelery.local import Cluster, cluster
from dagcelery.local.cluster import default_client

T = TypeVar("T")
QUICK = {"DAGCELERY_HEARTBEAT_SECONDS": "0.2", "DAGCELERY_DEAD_SECONDS": "1"}


@pytest.fixture
def empty() -> Iterator[Cluster]:
    """A local cluster without workers, whose workers will take a silent one for dead after a second."""
    with cluster(workers=0, environment=QUICK) as made, default_client(made.client):
        yield made


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a project with workflows in both dialects, made the working directory."""
    folder = EXAMPLES / "migrating" / "dagmate_project"
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "app" or name.startswith("dagcelery_file_"):
            del sys.modules[name]


@contextmanager
def worker(at: Cluster, *options: str) -> Iterator[None]:
    """A worker from the command line, for the length of a block."""
    environment = os.environ | at.environment | {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-m", "dagcelery.cli", "worker", *options]
    command = [*program, "--", "-c", "1", "--without-gossip", "--without-mingle"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def eventually(condition: Callable[[], T]) -> T:
    """Wait until something is so, and return it; a test's own time limit ends what never comes."""
    while not (found := condition()):
        time.sleep(0.01)
    return found
