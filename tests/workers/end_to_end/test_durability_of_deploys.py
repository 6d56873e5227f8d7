"""Code is deployed while runs go on: workers with the old code and with the new one serve the same queue."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from dagcelery import TaskFunction
from dagcelery.local import cluster

from .hard import SECONDS, eventually

BEFORE = """
from dagcelery import task

@task
def old(x: int) -> int:
    return x
"""

AFTER = """
from dagcelery import task

@task(aliases="deployed:old")
def renamed(x: int) -> int:
    return x + 1

@task
def added(x: int) -> int:
    return x + 2
"""


@pytest.fixture(autouse=True)
def _a_place_for_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)  # workers find modules where this process does
    monkeypatch.delitem(sys.modules, "deployed", raising=False)


def module(source: str) -> types.ModuleType:
    """The module `deployed` as this process has it, whatever the workers have."""
    made = sys.modules["deployed"] = types.ModuleType("deployed")
    exec(source, made.__dict__)
    return made


def test_a_function_that_a_worker_does_not_have_yet_waits_for_one_that_does(tmp_path: Path) -> None:
    code = tmp_path / "deployed.py"
    code.write_text(BEFORE)
    added: TaskFunction[[int], int] = module(AFTER).added
    with cluster(workers=0) as local:
        worker = local.start_worker()
        run = local.client.submit(added, {"x": 1})
        error = eventually(lambda: list(run.errors()))[0]
        assert error.type_name == "dagcelery.errors.FunctionNotFound"
        assert "put its module on this worker's path" in error.message
        worker.stop()
        code.write_text(AFTER)
        local.start_worker()
        assert run.result(SECONDS) == 3


def test_a_function_that_moved_is_found_by_runs_of_before(tmp_path: Path) -> None:
    (tmp_path / "deployed.py").write_text(AFTER)
    old: TaskFunction[[int], int] = module(BEFORE).old
    with cluster(workers=0, modules=["deployed"]) as local:
        run = local.client.submit(old, {"x": 1})
        local.start_worker()
        assert run.result(SECONDS) == 2
