"""One arena for all tests of single faults: booting workers takes longer than dying."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery.testing.chaos.harness import PATIENT
from dagcelery.testing.faults import Arena


@pytest.fixture(scope="session")
def dag_faults_options() -> dict[str, Any]:
    """Two workers of two processes, undisturbed but for what tests order."""
    return {"modules": ["dagcelery.testing.chaos.graphs"], "taints": ["gpu"], "environment": PATIENT}


@pytest.fixture
def arena(dag_faults: Arena) -> Arena:
    """The plug-in's arena by a shorter name."""
    return dag_faults
