"""The verbs that cancel, resume and explain a run, and the sweep for cron: what they print, and when they fail."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from dagcelery import RunState
from dagcelery.cli.runs import bar, counts
from dagcelery.client import Run
from dagcelery.client.status import NodeStatus
from dagcelery.local import Cluster

from . import targets
from .conftest import SECONDS, Cli

pytestmark = pytest.mark.usefixtures("cluster")


def test_cache_clear_drops_what_is_kept_of_a_task(cli: Cli) -> None:
    for x in (2, 3):
        targets.looked_up.submit(x=x).result(SECONDS)
    run = targets.looked_up.submit(x=3)
    run.result(SECONDS)
    assert re.search(r"looked_up +.* cached +done", cli("status", run.id).stdout)
    for told in ("2 results dropped\n", "0 results dropped\n"):
        result = cli("cache", "clear", "unit.cli.targets:looked_up")
        assert (result.exit_code, result.stdout) == (0, told)


def test_cache_clear_wants_a_name(cli: Cli) -> None:
    result = cli("cache", "clear", "looked_up")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: task='looked_up': is not a task; give one, or its name as 'module:name'\n",
    )


def test_cancel_ends_a_run_and_says_so(cli: Cli, tmp_path: Path) -> None:
    run = targets.patient.submit(path=str(tmp_path / "it"))
    for _ in range(2):
        result = cli("cancel", run.id, "--reason", "a mistake")
        assert (result.exit_code, result.stdout) == (0, "cancelled\n")
    (tmp_path / "it").touch()
    assert "cancelled: a mistake" in " ".join(cli("status", run.id).stdout.split())


def test_cancel_of_a_run_that_ended_otherwise_is_no_success(cli: Cli, failed: Run[str]) -> None:
    result = cli("cancel", failed.id)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: run {failed.id} cannot be cancelled: it has ended as failed\n"


def test_cancel_may_end_the_processes_too(cli: Cli, cluster: Cluster, tmp_path: Path) -> None:
    run = targets.patient.submit(path=str(tmp_path / "it"))
    while run.state is not RunState.RUNNING:
        time.sleep(0.01)
    assert cli("cancel", run.id, "--terminate").exit_code == 0
    assert targets.squares.submit(n=20).result(SECONDS) == 2470


def test_resume_goes_on_and_tells_what_came_of_it(cli: Cli, failed: Run[str]) -> None:
    result = cli("resume", failed.id, "--watch", "--deadline", "60", "--allow-code-change")
    assert (result.exit_code, result.stdout) == (0, "done\n")
    assert "needs" in result.stderr


def test_resume_from_a_node_executes_it_again(cli: Cli) -> None:
    run = targets.squares.submit(n=3)
    run.result(SECONDS)
    before = run.status().started
    result = cli("resume", run.id, "--from", "square[1]", "--watch")
    assert (result.exit_code, result.stdout) == (0, "done\n")
    assert run.status().started == before
    assert run.result(SECONDS) == 5
    result = cli("resume", run.id, "--from", "totla")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "did you mean 'total'?" in result.stderr


def test_resume_returns_at_once_unless_it_is_to_watch(cli: Cli, failed: Run[str]) -> None:
    assert cli("resume", failed.id).stdout in ("running\n", "done\n")
    assert failed.result(SECONDS) == "it"


def test_a_watched_run_that_fails_again_is_no_success(cli: Cli, failed: Run[str], tmp_path: Path) -> None:
    (tmp_path / "it").unlink()
    result = cli("resume", failed.id, "--watch")
    assert (result.exit_code, result.stdout) == (1, "failed\n")
    assert cli("status", failed.id, "--watch").exit_code == 1
    assert cli("status", failed.id).exit_code == 0


def test_a_run_that_cannot_be_resumed_is_one_sentence(cli: Cli) -> None:
    run = targets.squares.submit(n=3)
    run.result(SECONDS)
    result = cli("resume", run.id)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is done: there is nothing to resume; to execute a node again, name it" in result.stderr
    assert "dagcelery resume --from 'read[3]'" in result.stderr


@pytest.mark.parametrize("verb", ["cancel", "resume", "errors"])
def test_a_run_that_there_is_not_is_one_sentence(cli: Cli, verb: str) -> None:
    result = cli(verb, "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "run nobody is not in this store" in result.stderr


def test_errors_lists_every_attempt_that_failed(cli: Cli, failed: Run[str]) -> None:
    first, second = cli("errors", failed.id).stdout.splitlines()
    assert first.startswith("needs attempt 1, repeated: FileNotFoundError: ")
    assert second.startswith("needs attempt 2: FileNotFoundError: ")


def test_errors_shows_where_they_were_raised(cli: Cli, failed: Run[str]) -> None:
    assert cli("errors", failed.id, "--traceback").stdout.count("\nTraceback (most recent call last)") == 2


def test_errors_is_data_for_programs(cli: Cli, failed: Run[str]) -> None:
    told = json.loads(cli("errors", failed.id, "--json").stdout)
    assert [(each["address"], each["attempt"], each["stands"]) for each in told] == [
        ("needs", 1, False),
        ("needs", 2, True),
    ]
    assert "open(path)" in told[0]["traceback"]


def test_sweep_says_what_it_did(cli: Cli) -> None:
    assert json.loads(cli("sweep", "--json").stdout).keys() == {"looked_at", "messages_sent", "given_back"}
    assert re.fullmatch(r"\d+ runs? looked at, \d+ messages? sent, 0 pieces given back\n", cli("sweep").stdout)


def test_submit_with_a_key_that_was_used_prints_the_same_id(cli: Cli) -> None:
    command = ["submit", "unit.cli.targets:squares", "-p", "n=3", "--key", "order-42", "--deadline", "60"]
    assert cli(*command).stdout == cli(*command).stdout
    alone = ["submit", "unit.cli.targets:numbers", "-p", "n=3", "--key", "order-42"]
    assert cli(*alone).stdout == cli(*alone).stdout != cli(*command).stdout
    assert cli("submit", "unit.cli.targets:numbers", "-p", "n=4", "--key", "order-42").exit_code == 1


def test_submit_says_with_if_failed_what_a_key_gives_whose_run_has_failed(cli: Cli) -> None:
    command = ["submit", "unit.cli.targets:fail", "-p", "reason=none", "--key", "failing"]
    first = cli(*command).stdout
    assert Run[object](first.strip()).wait(SECONDS) == "failed"
    assert cli(*command).stdout == first
    assert cli(*command, "--if-failed", "new").stdout != first
    assert cli("run", *command[1:], "--if-failed", "resume").exit_code == 1, "it fails again"
    assert cli(*command, "--if-failed", "resumed").exit_code == 2


def test_submit_with_a_deadline_remembers_when_the_run_is_to_end(cli: Cli, cluster: Cluster) -> None:
    run_id = cli("submit", "unit.cli.targets:squares", "-p", "n=3", "--deadline", "60").stdout.strip()
    record = cluster.client.store.reader.record(run_id)
    assert record is not None
    assert record.deadline - record.created == pytest.approx(60, abs=0.1)
    assert (
        "deadline=0.0: is not a time"
        in cli("submit", "unit.cli.targets:squares", "-p", "n=3", "--deadline", "0").stderr
    )


def test_a_row_says_what_retries_and_what_was_skipped() -> None:
    node = NodeStatus("fit", "celery", True, 10, 4, 1, 0, 1.0, 0.0, retrying=2, skipped=3)
    assert (node.waiting, node.state) == (0, "retrying")
    assert str(counts(node)) == "4/10 1 running 2 retrying 3 skipped"
    assert bar(node).completed == 7
    over = NodeStatus("fit", "celery", True, 10, 7, 0, 0, 1.0, 2.0, skipped=3)
    assert (over.waiting, over.state) == (0, "done")
