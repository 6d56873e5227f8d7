"""The installed program `dagcelery`: it finds what stands in the working directory, whichever verb it is given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagcelery.client import Run, submit
from dagcelery.local import Cluster

SCRIPT = Path(sys.executable).with_name("dagcelery")
MODULE = """
from dagcelery import task

@task
def half(x: int) -> int:
    return x // 2
"""


def script(cluster: Cluster, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a folder, as another process on this machine would."""
    environment = {**os.environ, **cluster.environment, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def cancelled(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run[int]]:
    """A run that was cancelled before a worker could look for its function, which stands in a folder of the test's."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "halves.py").write_text(MODULE)
    run = submit("halves:half", {"x": 5})
    run.cancel()
    yield run
    sys.modules.pop("halves", None)


def test_resume_looks_at_the_code_in_the_working_directory(
    cancelled: Run[int], cluster: Cluster, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    told = script(cluster, elsewhere, "resume", cancelled.id)
    assert told.returncode == 1
    assert "halves:half may have changed since its run was planned" in told.stderr
    (tmp_path / "halves.py").write_text(MODULE.replace("x // 2", "x / 2"))
    told = script(cluster, tmp_path, "resume", cancelled.id)
    assert told.returncode == 1
    assert "halves:half has different code here" in told.stderr
    assert "--allow-code-change" in told.stderr
    (tmp_path / "halves.py").write_text(MODULE)
    assert script(cluster, tmp_path, "resume", cancelled.id).returncode == 0
