"""The project in examples/yaml_workflows: one workflow succeeds, the other one fails on purpose."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import EXAMPLES
from dagcelery import errors, submit
from dagcelery.frontends.yaml import load
from dagcelery.local import cluster

PROJECT = EXAMPLES / "yaml_workflows"
DAGCELERY = Path(sys.executable).parent / "dagcelery"


def done(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, env=os.environ)


def test_as_a_script() -> None:
    finished = done(sys.executable, "main.py")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines() == [
        "inference: b",
        "*/20 * * * * {'c': {'x4': 7, 'x5': 12}}",
        "node a failed with ValueError: there are no rows",
    ]


def test_from_the_command_line() -> None:
    assert "inference, due at */20 * * * *" in done(DAGCELERY, "config", "check", "conf/config.yml").stdout
    finished = done(DAGCELERY, "config", "run", "conf/config.yml", "inference", "--local", "1")
    assert finished.stdout == '{"c": {"x4": 7, "x5": 12}}\n', finished.stderr


def test_on_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    training, inference = load("conf/config.yml")
    with cluster(workers=1):
        assert submit(inference).result(timeout=60) == {"c": {"x4": 7, "x5": 12}}
        with pytest.raises(errors.NodeFailed, match="node a failed with ValueError: there are no rows"):
            submit(training).result(timeout=60)
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "src":
            del sys.modules[name]
