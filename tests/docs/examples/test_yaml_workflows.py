"""The project in examples/yaml_workflows: one workflow succeeds, the other one fails on purpose."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from checkout import EXAMPLES
from dagcelery.cli import dag

PROJECT = EXAMPLES / "yaml_workflows"


def test_as_a_script() -> None:
    finished = subprocess.run([sys.executable, "main.py"], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines() == [
        "inference: b",
        "*/20 * * * * {'c': {'x4': 7, 'x5': 12}}",
        "node a failed with ValueError: there are no rows",
    ]


def test_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*words: str) -> str:
        return CliRunner().invoke(dag, ["config", *words], catch_exceptions=False).stdout

    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    assert "inference, due at */20 * * * *" in told("check", "conf/config.yml")
    assert told("run", "conf/config.yml", "inference", "--local", "1") == '{"c": {"x4": 7, "x5": 12}}\n'
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "src":
            del sys.modules[name]
