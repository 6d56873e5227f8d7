"""The verbs that look at runs: what programs and pipes get, and what people see on a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from dagcelery.cli.runs import branches, table
from dagcelery.client import Run
from dagcelery.client.status import NodeStatus, RunStatus
from dagcelery.local import Cluster
from dagcelery.store.records import RunState

from . import targets
from .conftest import SECONDS, Cli

pytestmark = pytest.mark.usefixtures("cluster")
CONTROL = re.compile(r"[^\S\n\t ]|[\x00-\x08\x0b-\x1f\x7f]")


@pytest.fixture
def done(cluster: Cluster) -> Run[int]:
    run = targets.squares.submit(n=3)
    run.wait(SECONDS)
    return run


def test_list_has_a_line_for_each_run_newest_first(cli: Cli, done: Run[int], failed: Run[str]) -> None:
    lines = cli("list", "--limit", "2").stdout.splitlines()
    told = [line.split("\t")[1:] for line in lines]
    path = failed.status().params["path"]
    assert told == [
        [failed.id, "failed", "unit.cli.targets:needs", f"path={path}"],
        [done.id, "done", "unit.cli.targets:squares", "n=3"],
    ]


def test_list_finds_one_dag_or_one_state(cli: Cli, done: Run[int], failed: Run[str]) -> None:
    found = json.loads(cli("list", "--dag", "unit.cli.targets:squares", "--limit", "1", "--json").stdout)
    assert [run["id"] for run in found] == [done.id]
    found = json.loads(cli("list", "--state", "failed", "--limit", "1", "--json").stdout)
    assert [(run["id"], run["state"]) for run in found] == [(failed.id, "failed")]
    assert cli("list", "--state", "over").exit_code == 2


def test_watch_has_a_line_for_each_thing_that_happens(cli: Cli, done: Run[int]) -> None:
    result = cli("watch", done.id)
    assert result.exit_code == 0
    told = [line.split(" ", 1)[1] for line in result.stdout.splitlines()]
    assert (told[0], told[-1]) == ("created", "ended done")
    assert [word.partition(" ")[0] for word in told[1:-1]] == ["done"] * 5
    assert not CONTROL.search(result.stdout)


def test_watch_has_a_line_for_each_start_if_that_is_asked_for(cli: Cli, done: Run[int]) -> None:
    told = [line.split(" ")[1:] for line in cli("watch", done.id, "--started").stdout.splitlines()]
    assert [kind for kind, *_ in told[1:-1]] == ["started", "done"] * 5
    assert all(words[-2] == "pid" and "@" in words[-3] for words in told[1:-1])


def test_watch_goes_on_behind_a_position(cli: Cli, done: Run[int]) -> None:
    events = [json.loads(line) for line in cli("watch", done.id, "--json").stdout.splitlines()]
    rest = cli("watch", done.id, "--json", "--after", events[-2]["position"]).stdout
    assert [json.loads(line) for line in rest.splitlines()] == events[-1:]


def test_watch_tells_by_its_exit_code_what_came_of_the_run(cli: Cli, failed: Run[str]) -> None:
    result = cli("watch", failed.id)
    assert result.exit_code == 1
    assert "retried needs" in result.stdout
    assert "ended failed" in result.stdout


def test_status_says_why_a_node_waits(cli: Cli, tmp_path: Path) -> None:
    run = targets.patient.options(queue="nobody").submit(path=str(tmp_path))
    told = cli("status", run.id).stdout
    assert "waiting no worker listens to queue nobody" in re.sub(" +", " ", told)
    assert not CONTROL.search(told)
    run.cancel()


def test_run_says_why_it_has_waited_in_vain(cli: Cli, tmp_path: Path) -> None:
    told = cli("run", "unit.cli.targets:patient", "-p", f"path={tmp_path / 'it'}", "--timeout", "0.1")
    assert told.exit_code == 1
    assert re.search(r"had no result after 0\.1 s: it is (pending|running) \(patient", told.stderr)
    (tmp_path / "it").touch()


def test_status_prints_a_tree_for_programs(cli: Cli, done: Run[int]) -> None:
    found = json.loads(cli("status", done.id, "--json", "--tree").stdout)
    assert [node["name"] for node in found["children"]] == ["numbers", "square", "total"]
    assert cli("status", done.id, "--tree").exit_code == 2


def test_every_verb_about_runs_speaks_json(cli: Cli, failed: Run[str], tmp_path: Path) -> None:
    resumed = json.loads(cli("resume", failed.id, "--watch", "--json").stdout)
    assert resumed == {"id": failed.id, "state": "done"}
    run = targets.patient.submit(path=str(tmp_path / "other"))
    assert json.loads(cli("cancel", run.id, "--json").stdout) == {"id": run.id, "state": "cancelled"}
    (tmp_path / "other").touch()
    assert json.loads(cli("sweep", "--json").stdout)["looked_at"] >= 0


def on_a_terminal(cluster: Cluster, *arguments: str) -> tuple[str, int]:
    """What a command shows on a terminal, and its exit code."""
    ours, theirs = pty.openpty()
    environment = os.environ | cluster.environment | {"TERM": "xterm", "COLUMNS": "120"}
    program = [sys.executable, "-m", "dagcelery.cli", *arguments]
    with subprocess.Popen(program, stdout=theirs, env=environment, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:  # it has closed its side
            pass
        os.close(ours)
    return shown.decode(), process.returncode


def test_people_watch_bars_on_a_terminal(cluster: Cluster, done: Run[int]) -> None:
    shown, code = on_a_terminal(cluster, "watch", done.id)
    assert code == 0
    assert "━" in shown
    assert "3/3" in shown


def test_people_see_a_table_of_runs_on_a_terminal(cluster: Cluster, done: Run[int]) -> None:
    shown, code = on_a_terminal(cluster, "list", "--limit", "1")
    assert code == 0
    assert done.id in shown
    assert "\x1b[" in shown


def node(name: str) -> NodeStatus:
    return NodeStatus(name, "celery", False, 1, 0, 0, 0, 0.0, 0.0)


def test_nodes_within_a_mapped_dag_stand_below_it() -> None:
    names = ["load", "train", "report", "train[*]/fit", "train[*]/folds", "train[*]/folds[*]/fold"]
    nodes = [node(name) for name in names]
    assert [found.name for found in branches(nodes)] == [
        "load",
        "train",
        "train[*]/fit",
        "train[*]/folds",
        "train[*]/folds[*]/fold",
        "report",
    ]
    status = RunStatus("id", "mod:dag", RunState.RUNNING, 0, 0, 0, "", "", tuple(nodes))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(status))
    told = [row[:20].rstrip() for row in console.export_text().splitlines()[1:]]
    assert told == ["load", "train", "└ fit", "└ folds", "  └ fold", "report"]


def test_a_node_whose_parent_is_left_out_is_named_in_full() -> None:
    status = RunStatus("id", "mod:dag", RunState.RUNNING, 0, 0, 0, "", "", (node("train[*]/fit"),))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(status))
    assert "train[*]/fit" in console.export_text()
