"""Runs that are cancelled, time out, fail and are resumed, on real workers: what is executed, and how often."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hardships
import pytest
from hardships import traces

from dagcelery import Run, RunState, task
from dagcelery.client import Client
from dagcelery.errors import (
    CodeMismatch,
    KeyReused,
    NotResumable,
    RunCancelled,
    RunNotFound,
    RunTimedOut,
)
from dagcelery.local import Cluster
from unit.hooks.mailbox import Mailbox

from .hard import SECONDS, eventually, failure, node

pytestmark = pytest.mark.usefixtures("hard")


def fix(folder: Path) -> None:
    (folder / "fixed").touch()


def go(folder: Path) -> None:
    (folder / "go").touch()


# -- cancel ------------------------------------------------------------------------------------
def test_cancel_stops_what_has_not_started(tmp_path: Path) -> None:
    run = hardships.held_items.submit(folder=str(tmp_path), n=20)
    eventually(lambda: len(traces(tmp_path)) == 2)
    assert run.cancel("enough") is RunState.CANCELLED
    go(tmp_path)
    with pytest.raises(RunCancelled, match="was cancelled: enough"):
        run.result(SECONDS)
    eventually(lambda: not node(run, "held").running)
    assert len(traces(tmp_path)) == 2
    assert run.cancel("again") is RunState.CANCELLED


def test_cancel_can_end_the_processes_that_work_on_the_run(tmp_path: Path) -> None:
    run = hardships.stuck.submit(folder=str(tmp_path))
    eventually(lambda: traces(tmp_path))
    assert run.cancel("now", terminate=True) is RunState.CANCELLED
    (pid,) = traces(tmp_path)
    eventually(lambda: not Path("/proc", pid).exists())
    assert hardships.numbers.submit(n=3).result(SECONDS) == [0, 1, 2]


def test_what_waits_for_a_worker_that_is_not_online_never_starts(tmp_path: Path, hard: Cluster) -> None:
    late = hardships.tell.options(queue="late").submit(folder=str(tmp_path), x=1, word="late")
    late.cancel("before it began")
    other = hardships.tell.options(queue="late").submit(folder=str(tmp_path), x=2, word="other")
    worker = hard.start_worker(1, queues=["late"])
    assert other.result(SECONDS) == 2
    worker.stop()
    assert traces(tmp_path) == ["other"]


def test_a_run_that_is_over_cannot_be_cancelled() -> None:
    run = hardships.numbers.submit(n=2)
    run.result(SECONDS)
    assert run.cancel("late") is RunState.DONE
    assert run.result() == [0, 1]


@pytest.mark.parametrize("ask", ["cancel", "resume", "errors"])
def test_a_run_that_there_is_not_is_a_typed_error(ask: str) -> None:
    with pytest.raises(RunNotFound, match="run nobody is not in this store"):
        getattr(Run("nobody"), ask)()


# -- resume ------------------------------------------------------------------------------------
def test_resume_after_a_failure_executes_only_what_failed_or_is_missing(tmp_path: Path) -> None:
    run = hardships.journey.submit(folder=str(tmp_path), n=6)
    assert failure(run).address == "fixable[3]"
    eventually(lambda: not node(run, "fixable").running)
    fix(tmp_path)
    assert run.resume() is run
    assert run.result(SECONDS) == [0, 1, 4, 9, 16, 25]
    assert sorted(traces(tmp_path)) == sorted([*"012345", "3", "first", "last"])
    assert run.state is RunState.DONE
    assert [(each.address, each.stands) for each in run.errors()] == [("fixable[3]", False)]


def test_resume_after_independent_branches_were_finished(tmp_path: Path) -> None:
    run = hardships.whole_journey.submit(folder=str(tmp_path), n=40)
    assert failure(run).address == "fixable[3]"
    before = traces(tmp_path)
    fix(tmp_path)
    assert run.resume().result(SECONDS) == [x * x for x in range(40)]
    assert traces(tmp_path)[len(before) :] == ["3", "last"]


def test_resume_goes_on_within_mapped_dags(tmp_path: Path) -> None:
    run = hardships.nested_journey.submit(folder=str(tmp_path), n=5)
    assert failure(run).address == "inner[3]/fixable"
    before = traces(tmp_path)
    fix(tmp_path)
    assert run.resume().result(SECONDS) == [0, 1, 4, 9, 16]
    assert traces(tmp_path)[len(before) :] == ["3"]


def test_resume_after_a_cancel_goes_on_where_it_stopped(tmp_path: Path) -> None:
    run = hardships.held_items.submit(folder=str(tmp_path), n=8)
    eventually(lambda: len(traces(tmp_path)) == 2)
    run.cancel("a pause")
    go(tmp_path)
    eventually(lambda: not node(run, "held").running)
    assert run.resume().result(SECONDS) == list(range(8))
    assert sorted(traces(tmp_path)) == sorted([*"01234567", "last"])


def test_what_was_terminated_is_executed_again(tmp_path: Path) -> None:
    run = hardships.held.submit(folder=str(tmp_path), x=1)
    eventually(lambda: traces(tmp_path))
    run.cancel("now", terminate=True)
    eventually(lambda: not node(run, "held").running)
    go(tmp_path)
    assert run.resume().result(SECONDS) == 1
    assert traces(tmp_path) == ["1", "1"]


def test_resume_after_the_deadline_has_a_new_one(tmp_path: Path) -> None:
    run = hardships.held_items.options(deadline=0.3).submit(folder=str(tmp_path), n=3)
    with pytest.raises(RunTimedOut):
        run.result(SECONDS)
    go(tmp_path)
    assert run.resume(deadline=60).result(SECONDS) == [0, 1, 2]
    assert sorted(traces(tmp_path)) == ["0", "1", "2", "last"]


def test_a_resumed_run_has_all_its_attempts_again(tmp_path: Path) -> None:
    run = hardships.twice.submit(folder=str(tmp_path))
    failure(run)
    failure(run.resume())
    assert len(traces(tmp_path)) == 4
    fix(tmp_path)
    assert run.resume().result(SECONDS) == "fixed"
    assert [each.stands for each in run.errors()] == [False] * 4


def test_a_run_that_goes_on_or_is_done_cannot_be_resumed(tmp_path: Path) -> None:
    run = hardships.held.submit(folder=str(tmp_path), x=1)
    eventually(lambda: traces(tmp_path))
    with pytest.raises(NotResumable, match="is running: it continues by itself"):
        run.resume()
    go(tmp_path)
    run.result(SECONDS)
    with pytest.raises(NotResumable, match="is done: there is nothing to resume"):
        run.resume()


def test_of_two_who_resume_at_once_one_is_refused_and_all_is_executed_once(tmp_path: Path) -> None:
    run = hardships.whole_journey.submit(folder=str(tmp_path), n=6)
    failure(run)
    fix(tmp_path)
    barrier = threading.Barrier(4)

    def attempt(_: int) -> bool:
        barrier.wait()
        try:
            run.resume()
        except NotResumable:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [False, False, False, True]
    assert run.result(SECONDS) == [0, 1, 4, 9, 16, 25]
    assert traces(tmp_path).count("3") == 2


def test_resume_refuses_changed_code_unless_it_is_allowed(
    tmp_path: Path, hard: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = hardships.changeable.submit(folder=str(tmp_path))
    failure(submitted)
    fix(tmp_path)

    @task
    def changed(folder: str, x: int) -> int:
        return x + 1

    monkeypatch.setattr(hardships, "fixable", changed)
    run: Run[int] = Run(submitted.id, client=Client(hard.client.settings))  # as another process would
    with pytest.raises(CodeMismatch, match="hardships:fixable"):
        run.resume()
    assert run.state is RunState.FAILED
    assert run.resume(allow_code_change=True).result(SECONDS) == 9


# -- keys --------------------------------------------------------------------------------------
def test_a_key_stands_for_one_set_of_parameters() -> None:
    first = hardships.journey.options(key="k1").submit(folder="a", n=0)
    assert hardships.journey.options(key="k1").submit(folder="a", n=0) == first
    with pytest.raises(KeyReused, match=rf"key 'k1'.*belongs to run {first.id}.*other parameters") as reused:
        hardships.journey.options(key="k1").submit(folder="a", n=1)
    assert reused.value.run_id == first.id


def test_concurrent_submitters_with_one_key_get_one_run(tmp_path: Path, hard: Cluster) -> None:
    barrier = threading.Barrier(8)

    def submit(_: int) -> Run[Any]:
        client = Client(hard.client.settings)
        barrier.wait()
        return client.submit(hardships.tell, {"folder": str(tmp_path), "x": 1, "word": "once"}, key="k2")

    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(submit, range(8)))
    assert len(set(runs)) == 1
    assert runs[0].result(SECONDS) == 1
    assert traces(tmp_path) == ["once"]


# -- hooks -------------------------------------------------------------------------------------
def noticed(file: Path, run: Run[Any]) -> list[str]:
    """What hooks were told of a run."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.removeprefix(f"{run.id} ") for line in lines if line.startswith(run.id)]


def test_a_hook_is_called_once_an_epoch(tmp_path: Path, notices: Path) -> None:
    run = hardships.noticed.submit(folder=str(tmp_path))
    failure(run)
    eventually(lambda: noticed(notices, run))
    fix(tmp_path)
    run.resume().result(SECONDS)
    eventually(lambda: len(noticed(notices, run)) > 1)
    assert noticed(notices, run) == ["failed 1 fixable ValueError", "done 2 - -"]


def test_a_worker_sends_a_mail_when_a_run_has_failed(tmp_path: Path, hard: Cluster, mailbox: Mailbox) -> None:
    run = hardships.mailed.options(key=f"mail of {tmp_path}").submit(folder=str(tmp_path))
    error = failure(run)
    (message,) = eventually(lambda: mailbox.messages)
    text = message.get_content()
    assert message["To"] == "ops@example.com"
    assert f"fixable failed: {error.type_name}: {error.message}" in message["Subject"]
    assert f"key        mail of {tmp_path}" in text
    assert f"parameter  folder = '{tmp_path}'" in text
    assert f"dagcelery resume {run.id}" in text
    assert "in fixable" in text


def test_a_cancelled_run_calls_its_hook_too(tmp_path: Path, notices: Path) -> None:
    run = hardships.held_and_noticed.submit(folder=str(tmp_path))
    eventually(lambda: traces(tmp_path))
    run.cancel("a mistake")
    go(tmp_path)
    assert eventually(lambda: noticed(notices, run)) == ["cancelled 1 - a mistake"]


def test_a_hook_that_fails_harms_nothing(tmp_path: Path, notices: Path) -> None:
    run = hardships.badly_noticed.submit(folder=str(tmp_path))
    assert run.result(SECONDS) == 1
    eventually(lambda: noticed(notices, run))
    assert run.state is RunState.DONE
    assert hardships.badly_noticed.submit(folder=str(tmp_path)).result(SECONDS) == 1
