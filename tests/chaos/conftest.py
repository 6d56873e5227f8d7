"""One arena for all tests of single faults: booting workers takes longer than dying."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dagcelery.client import set_default
from dagcelery.testing import faults
from dagcelery.testing.chaos.harness import PATIENT


@pytest.fixture(scope="session")
def session_arena() -> Iterator[faults.Arena]:
    """Two workers of two processes, undisturbed but for what tests order."""
    modules = ["dagcelery.testing.chaos.graphs"]
    with faults.arena(workers=2, processes=2, taints=["gpu"], modules=modules, environment=PATIENT) as arena:
        set_default(None)
        yield arena


@pytest.fixture
def arena(session_arena: faults.Arena) -> Iterator[faults.Arena]:
    """The arena with its two workers, and no order pending."""
    session_arena.replenish(2)
    yield session_arena
    session_arena.ledger.withdraw()
