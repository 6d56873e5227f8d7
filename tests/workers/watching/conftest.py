"""Runs on two workers of this machine, and runs that nobody executes."""

from __future__ import annotations

import pytest

from dagcelery.local import Cluster

SECONDS = 30.0


@pytest.fixture(autouse=True)
def on_workers(cluster: Cluster) -> Cluster:
    """Two worker processes, the default client."""
    return cluster
