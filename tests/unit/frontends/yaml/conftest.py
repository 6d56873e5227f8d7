"""A project of plain functions in a folder of its own, and configurations of both dialects for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

STEPS = {
    "a": "def step_fn(): return 3, 4",
    "b": "def step_fn(): DONE.append('b')\n\nDONE = []",
    "c": "def step_fn(x1, x2): return x1 + x2, x1 * x2",
    "d": "def step_fn(x5): return -x5",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a project, made the working directory; its steps are modules of ``app.training``."""
    package = tmp_path / "app" / "training"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    for name, text in STEPS.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "app" or name.startswith("dagcelery_file_"):
            del sys.modules[name]


PLACED = dedent(
    """\
    project: app
    workflows:
      - name: training
        schedule: "*/1 * * * *"
        steps:
          - name: a
            input: null
            output: [x1, x2]
          - name: b
            input: null
            output: null
          - name: c
            input:
              - {type: var, name: x1, source: {step: a, var: x1}}
              - {type: var, name: x2, source: {step: a, var: x2}}
              - {type: start, name: start, source: {step: [b]}}
            output: [x4, x5]
          - name: d
            input:
              - {type: var, name: x5, source: {step: c, var: x4}}
            output: [x6]
    """
)

NAMED = dedent(
    """\
    project: ML
    workflows:
      - name: training
        steps:
          - name: a
            module: app.training.a
            function: step_fn
            dependencies: null
            return: [x1, x2]
          - name: b
            module: ./app/training/b.py
            function: step_fn
            dependencies: null
            return: null
          - name: c
            module: app.training.c
            function: step_fn
            dependencies:
              - {type: param, name: x1, source: {step: a, param: x1}}
              - {type: param, name: x2, source: {step: a, param: x2}}
              - {type: order, name: start, source: {step: [b]}}
            return: [x4, x5]
    """
)
