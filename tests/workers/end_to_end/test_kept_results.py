"""On workers, results are kept for other runs, large ones too, until they are forgotten."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import remembered

from dagcelery import Run

from .hard import SECONDS, node

pytestmark = pytest.mark.usefixtures("cluster")


def called(folder: Path) -> Counter[str]:
    """How often which call was made, since the last look."""
    calls = folder / "calls"
    found = Counter(calls.read_text().split()) if calls.exists() else Counter[str]()
    calls.unlink(missing_ok=True)
    return found


def cached(run: Run[int]) -> dict[str, tuple[int, int]]:
    return {name: (node(run, name).done, node(run, name).cached) for name in ("square", "table")}


def test_another_run_calls_only_what_is_new_until_results_are_forgotten(tmp_path: Path) -> None:
    def run(n: int) -> Run[int]:
        made: Run[int] = remembered.measured.submit(n, str(tmp_path))
        assert made.result(SECONDS) == sum(x * x for x in range(n)) + 1_000_000
        return made

    assert cached(run(30)) == {"square": (30, 0), "table": (1, 0)}
    assert called(tmp_path) == Counter(map(str, range(30))) + Counter(["table"])
    assert cached(run(40)) == {"square": (40, 30), "table": (1, 1)}
    assert called(tmp_path) == Counter(map(str, range(30, 40)))
    assert remembered.square.forget() >= 40
    assert cached(run(40)) == {"square": (40, 0), "table": (1, 1)}
    assert called(tmp_path) == Counter(map(str, range(40)))
