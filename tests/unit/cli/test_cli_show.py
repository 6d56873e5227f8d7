"""What a run is and what it gave back; runs by the beginning of their ids, and the newest one; and deleting them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dagcelery import RunState, runs
from dagcelery.client import Run
from dagcelery.local import Cluster

from . import targets
from .conftest import SECONDS, Cli

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def done(cluster: Cluster) -> Run[Any]:
    """A run with a key, which is the same one for all tests."""
    submission = targets.squares.options(key="42")
    run = submission.submit(n=3)
    run.wait(SECONDS)
    return run


def test_show_says_what_a_run_is_and_hides_what_is_sensitive(cli: Cli, done: Run[Any]) -> None:
    lines = cli("show", done.id).stdout.splitlines()
    told = dict(line.split(None, 1) for line in lines)
    assert (told["run"], told["dag"], told["key"]) == (done.id, "unit.cli.targets:squares", "42")
    assert (told["state"], told["queues"], told["param"]) == ("done", "celery, gpu", "n=3")
    run = targets.sign_in.submit(url="https://me:secret@host/x", password="hunter2")
    about = json.loads(cli("show", run.id, "--json").stdout)
    assert about["params"] == {"url": "'https://me:***@host/x'", "password": "***"}
    assert (about["key"], about["error"]) == (None, "")


def test_show_says_what_failed_and_what_is_executed_where(cli: Cli, failed: Run[str], tmp_path: Path) -> None:
    assert "state    failed: needs: FileNotFoundError: [Errno 2]" in cli("show", failed.id).stdout
    run = targets.patient.submit(path=str(tmp_path / "there"))
    while not (workers := json.loads(cli("show", run.id, "--json").stdout)["workers"]):
        assert not run.state.is_end
    ((worker, (piece,)),) = workers.items()
    assert (piece["address"], piece["attempt"]) == ("patient", 1)
    assert "@" in worker
    assert worker.rpartition(" pid ")[2].isdigit()
    assert f"worker   {worker}: patient since 20" in cli("show", run.id).stdout
    assert f"patient on {worker} since " in cli("status", run.id).stdout
    (tmp_path / "there").touch()
    run.wait(SECONDS)
    (event,) = [event for event in run.events(follow=False) if event.kind == "done"]
    assert event.worker == worker == run.node("patient").status().worker == run.tree().children[0].worker


def test_result_prints_what_a_run_or_a_place_gave_back(cli: Cli, done: Run[Any], tmp_path: Path) -> None:
    for node, expected in (((), 5), (("numbers",), [0, 1, 2]), (("square[2]",), 4)):
        assert json.loads(cli("result", done.id, *node).stdout) == expected
    refused = cli("result", done.id, "sqare")
    assert (refused.exit_code, "did you mean 'square'" in refused.stderr) == (1, True)
    file = tmp_path / "result"
    assert cli("result", done.id, "--output", str(file)).exit_code == 0
    assert file.read_text() == "5\n"
    assert f"file '{file}': exists; name a new file" in cli("result", done.id, "--output", str(file)).stderr


def test_a_run_is_named_by_the_beginning_of_its_id(cli: Cli, done: Run[Any]) -> None:
    assert json.loads(cli("show", done.id[:10], "--json").stdout)["id"] == done.id
    for first in {run.id[0] for run in runs(limit=40)}:
        alike = [run.id for run in runs(limit=1_000) if run.id[0] == first]
        result = cli("show", first)
        assert result.exit_code == (2 if len(alike) > 1 else 0)
        assert all(run_id in result.output for run_id in alike[:10])
    assert "is not in this store" in cli("show", "0123456789abcdef").stderr


def test_the_newest_run_is_taken_with_last(cli: Cli, done: Run[Any], failed: Run[str]) -> None:
    assert json.loads(cli("show", "--last", "--json").stdout)["id"] == failed.id
    assert json.loads(cli("result", "--last", "--dag", "unit.cli.targets:squares", "square[2]").stdout) == 4
    of_dag = ("--last", "--dag", "unit.cli.targets:squares")
    assert json.loads(cli("show", *of_dag, "--json").stdout)["id"] == runs(targets.squares, limit=1)[0].id
    for wrong in ((done.id, "--last"), (done.id, "--dag", "x"), ()):
        assert cli("status", *wrong).exit_code == 2
    assert "the store has no run of nothing" in cli("status", "--last", "--dag", "nothing").stderr


def test_list_finds_runs_by_key_and_by_time(cli: Cli, done: Run[Any]) -> None:
    assert [run["id"] for run in json.loads(cli("list", "--key", "42", "--json").stdout)] == [done.id]
    created = runs(key="42")[0].created
    later = datetime.fromtimestamp(created + 0.001, UTC)
    for since, is_there in (("2h", True), (later.isoformat(), False), (later.strftime("%Y-%m-%d"), True)):
        found = json.loads(cli("list", "--since", since, "--json", "--limit", "1000").stdout)
        assert (done.id in [run["id"] for run in found]) is is_there
    assert [run.id for run in runs(key="42", since=timedelta(hours=1))] == [done.id]
    assert runs(key="42", since=created + 0.001) == runs(key="43") == []
    assert cli("list", "--since", "yesterday").exit_code == 2


def test_delete_forgets_runs_and_refuses_those_that_go_on(cli: Cli, tmp_path: Path) -> None:
    over, going = targets.shout.submit(text="a"), targets.patient.submit(path=str(tmp_path / "it"))
    over.wait(SECONDS)
    result = cli("delete", over.id[:12], going.id, "nothing")
    assert (result.exit_code, result.stdout) == (1, f"{over.id}\n")
    assert f"run {going.id} is " in result.stderr
    assert "nothing is not in this store" in result.stderr
    assert going.state in (RunState.PENDING, RunState.RUNNING)
    assert json.loads(cli("delete", "--force", going.id, "--json").stdout) == {"deleted": [going.id], "refused": []}
    (tmp_path / "it").touch()


def test_logs_print_what_pieces_wrote_with_its_attempt(cli: Cli, cluster: Cluster) -> None:
    run = targets.talks.submit(x=4)
    run.wait(SECONDS)
    first, line = cli("logs", run.id).stdout.splitlines()
    assert first == "talks attempt 1:"
    assert line.endswith("Z WARNING celery.redirected: four? 4")
    assert cli("logs", run.id, "talks").stdout == cli("logs", run.id).stdout
    ((logged),) = json.loads(cli("logs", run.id, "talks", "--json").stdout)
    assert (logged["address"], logged["attempt"], len(logged["lines"])) == ("talks", 1, 1)
    assert cli("logs", run.id, "tusks").exit_code == 1


def test_a_trace_is_printed_or_written_to_a_new_file(cli: Cli, done: Run[Any], tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    for times in (0, 1):
        assert cli("trace", done.id, "-o", str(file)).exit_code == times
    assert json.loads(file.read_text()) == json.loads(cli("trace", done.id).stdout) == done.trace()
