"""Examples run as scripts in this process, where their clusters are the session's."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import dagcelery.local
from checkout import ROOT
from dagcelery.client import set_default
from dagcelery.local import Cluster

Script = Callable[..., str]


def forget_projects() -> None:
    """Forget modules of a project among the examples, such as `app`, which other projects have too."""
    for name, module in list(sys.modules.items()):
        is_example = str(getattr(module, "__file__", None) or "").startswith(str(ROOT / "examples"))
        if is_example and name.partition(".")[0] != "examples":
            del sys.modules[name]


@pytest.fixture
def script(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Script]:
    """Run a module as `python -m` does and return what it prints.

    It is lent the session's cluster, unless it runs `alone`, starts workers later or gives them an environment.
    """
    own, is_lending = dagcelery.local.cluster, False

    @contextmanager
    def lent(workers: int = 2, **options: Any) -> Iterator[Cluster]:
        # Modules that are imported meanwhile keep this function, so it must behave as the other one afterwards.
        if not is_lending or not workers or options.keys() - {"taints"}:
            with own(workers, **options) as made:
                yield made
            return
        replaced = set_default(cluster.client)
        yield cluster
        set_default(replaced)

    def run(module: str, *arguments: str, alone: bool = False) -> str:
        nonlocal is_lending
        monkeypatch.setattr(sys, "argv", [f"{module}.py", *arguments])
        monkeypatch.delitem(sys.modules, module, raising=False)  # where another test imported it
        is_lending = not alone
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        finally:
            is_lending = False
            forget_projects()
        return capsys.readouterr().out

    monkeypatch.chdir(Path.cwd())  # one of them changes it
    monkeypatch.setattr(dagcelery.local, "cluster", lent)
    replaced = set_default(None)
    yield run
    set_default(replaced)
