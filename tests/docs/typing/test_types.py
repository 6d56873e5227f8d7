"""Type checkers see through the decorators."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def _same_recursion_limit() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    yield
    sys.setrecursionlimit(limit)  # mypy raises it for the whole process, and other tests are about depth


@pytest.mark.usefixtures("_same_recursion_limit")
def test_mypy_accepts_what_is_right_and_nothing_else() -> None:
    api = pytest.importorskip("mypy.api")
    here = Path(__file__).parent
    told, errors, status = api.run(["--strict", *map(str, here.glob("[!t]*.py"))])
    assert (status, errors) == (0, ""), told
