"""``dagcelery worker --reload`` starts a worker again when its code changes, and after what it is at."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from checkout import ROOT
from dagcelery.cli import dag
from dagcelery.cli.workers import log_level
from dagcelery.client import Client
from dagcelery.local import Cluster, Process
from dagcelery.local import cluster as local_cluster
from dagcelery.local.guard import tail

SECONDS = 60.0
CODE = """
import pathlib
import time

from dagcelery import dag, task

VERSION = 1


@task
def version(folder: str) -> int:
    where = pathlib.Path(folder)
    (where / "started").touch()
    while not (where / "free").exists():
        time.sleep(0.01)
    return VERSION


@dag
def which(folder: str) -> int:
    return version(folder)
"""


@pytest.fixture
def local() -> Iterator[Cluster]:
    """A server, and no workers yet."""
    with local_cluster(workers=0) as made:
        yield made


def await_true(condition: object, process: Process, log: Path) -> None:
    until = time.monotonic() + SECONDS
    while not condition():  # type: ignore[operator]
        assert process.is_alive, tail(log)
        assert time.monotonic() < until, tail(log, 60)
        time.sleep(0.02)


def test_a_change_restarts_the_worker_after_what_it_is_at(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, work, log = tmp_path / "code", tmp_path / "work", tmp_path / "log"
    code.mkdir()
    work.mkdir()
    (code / "reloaded.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(code))
    import reloaded

    program = [sys.executable, "-m", "dagcelery.cli", "worker", "--reload", "--watch-dir", str(code)]
    path = os.pathsep.join((str(code), str(ROOT)))
    environment = {**os.environ, **local.environment, "DAGCELERY_LOG_LEVEL": "INFO", "PYTHONPATH": path}
    process = local.server.guard.start([*program, "--", "-c", "1"], log=log, environment=environment)
    ready = re.compile(r"^\[.*\] \S+ ready\.$", re.M)

    def boots() -> int:
        return len(ready.findall(log.read_text()))

    await_true(lambda: boots() == 1, process, log)
    first = local.client.submit(reloaded.which, {"folder": str(work)})
    await_true((work / "started").exists, process, log)
    (code / "notes.txt").write_text("not Python, and not watched")
    (code / "reloaded.py").write_text(CODE.replace("VERSION = 1", "VERSION = 2"))
    await_true(lambda: "reloaded.py changed; restarting the worker" in log.read_text(), process, log)
    (work / "free").touch()
    assert first.result(timeout=SECONDS) == 1
    await_true(lambda: boots() == 2, process, log)
    assert isinstance(local.client, Client)
    assert local.client.submit(reloaded.which, {"folder": str(work)}).result(timeout=SECONDS) == 2
    process.stop(grace_seconds=20)
    assert process.exit_code is not None


def test_without_watchfiles_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    refused = CliRunner().invoke(dag, ["worker", "--reload"])
    assert refused.exit_code == 1
    assert refused.stderr == (
        "Error: --reload needs watchfiles, which is not installed: pip install 'dagcelery[reload]'\n"
    )


def test_a_folder_that_is_not_there_cannot_be_watched() -> None:
    refused = CliRunner().invoke(dag, ["worker", "--watch-dir", "/nowhere"])
    assert refused.exit_code == 2
    assert "'/nowhere' is not a folder" in refused.stderr


@pytest.mark.parametrize(
    ("variable", "arguments", "expected"),
    [
        ("", (), ["-l", "INFO"]),
        ("", ("-c", "2"), ["-l", "INFO"]),
        ("", ("-l", "error"), []),
        ("debug", ("-c", "2"), ["-l", "DEBUG"]),
        ("debug", ("-linfo",), []),
        ("debug", ("--loglevel=info",), []),
    ],
)
def test_a_worker_s_log_is_at_info_unless_the_environment_or_its_arguments_say_another_level(
    variable: str, arguments: tuple[str, ...], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGCELERY_LOG_LEVEL", raising=False)
    if variable:
        monkeypatch.setenv("DAGCELERY_LOG_LEVEL", variable)
    assert log_level(arguments) == expected
