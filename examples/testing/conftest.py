"""The tests' workers: two processes, which tolerate the taints of this project's tasks."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def dag_cluster_options() -> dict[str, Any]:
    return {"workers": 2, "taints": ["press"]}
