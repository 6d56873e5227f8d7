"""What the tests' workers are like: two processes, which tolerate what this project's tasks are tainted with."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def dag_cluster_options() -> dict[str, Any]:
    return {"workers": 2, "taints": ["press"]}
