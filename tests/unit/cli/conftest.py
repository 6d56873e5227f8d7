"""A command line that runs in the tests' process, and a run that failed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dagcelery.cli import dag
from dagcelery.client import Run
from dagcelery.local import Cluster

from . import targets

Cli = Callable[..., Result]
SECONDS = 30.0


@pytest.fixture
def cli() -> Cli:
    """Run a command line in this process; its output is no terminal."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(dag, arguments, input=stdin, prog_name="dagcelery")

    return run


@pytest.fixture
def failed(cluster: Cluster, tmp_path: Path) -> Run[str]:
    """A run that failed after two attempts, and would be done if it were resumed."""
    run = targets.needs.submit(path=str(tmp_path / "it"))
    run.wait(SECONDS)
    (tmp_path / "it").touch()
    return run
