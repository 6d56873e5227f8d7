"""One faulty cluster for all tests of single faults: booting workers takes longer than dying."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.harness import PATIENT
from dagcelery.testing.faults import FaultyCluster


@pytest.fixture(scope="session")
def dag_faults_options() -> dict[str, Any]:
    """Two workers of two processes, without faults but those that tests order."""
    return {"modules": ["chaos.graphs"], "taints": ["gpu"], "environment": PATIENT}


@pytest.fixture
def faulty(dag_faults: FaultyCluster) -> FaultyCluster:
    """The plug-in's faulty cluster by a shorter name."""
    return dag_faults
