"""Type checkers see through the decorators."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_mypy_accepts_what_is_right_and_nothing_else() -> None:
    api = pytest.importorskip("mypy.api")
    here = Path(__file__).parent
    told, errors, status = api.run(["--strict", *map(str, here.glob("[!t]*.py"))])
    assert (status, errors) == (0, ""), told
