"""Tasks that fail, hang or kill their process, on real workers: what is tried again, what is left out, what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hardships
import pytest
from hardships import traces

from dagcelery import RunState, TaskFunction
from dagcelery.local import Cluster

from .hard import SECONDS, eventually, failure, node

pytestmark = pytest.mark.usefixtures("hard")


# -- retries -----------------------------------------------------------------------------------
def test_a_task_that_fails_is_called_again_and_its_attempts_are_numbered(tmp_path: Path) -> None:
    run = hardships.third_time.submit(folder=str(tmp_path))
    assert run.result(SECONDS) == 3
    assert [(each.attempt, each.type_name, each.message, each.stands) for each in run.errors()] == [
        (1, "OSError", "not yet", False),
        (2, "OSError", "not yet", False),
    ]


def test_max_attempts_counts_calls_and_the_last_error_stands(tmp_path: Path) -> None:
    run = hardships.never.submit(folder=str(tmp_path))
    assert failure(run).message == "no 3"
    assert [(each.message, each.stands) for each in run.errors()] == [
        ("no 1", False),
        ("no 2", False),
        ("no 3", True),
    ]


@pytest.mark.parametrize("kind", ["named", "another"])
def test_an_error_that_is_not_to_be_retried_stands_at_once(tmp_path: Path, kind: str) -> None:
    assert failure(hardships.gives_up.submit(folder=str(tmp_path), kind=kind)).message == "that is that"
    assert traces(tmp_path) == ["called"]


def test_an_item_of_a_fan_out_retries_alone(tmp_path: Path) -> None:
    run = hardships.shaky_items.submit(folder=str(tmp_path), n=8)
    assert run.result(SECONDS) == list(range(8))
    assert sorted(traces(tmp_path)) == ["0", "1", "2", "2", "3", "4", "5", "5", "6", "7"]
    assert {each.address for each in run.errors()} == {"shaky[2]", "shaky[5]"}


def test_the_status_shows_what_waits_for_its_next_attempt() -> None:
    run = hardships.put_off.submit(n=3)
    eventually(lambda: node(run, "later").retrying == 3)
    assert (node(run, "later").state, node(run, "later").waiting) == ("retrying", 0)
    assert run.cancel("it is enough") is RunState.CANCELLED


# -- partial success ---------------------------------------------------------------------------
def test_items_that_fail_may_be_skipped_and_what_follows_sees_which(tmp_path: Path) -> None:
    run = hardships.odd_ones.submit(folder=str(tmp_path), n=4)
    result = run.result(SECONDS)
    assert result["all"] == [
        ["odd_only[0]", "ValueError", "0 is even"],
        1,
        ["odd_only[2]", "ValueError", "2 is even"],
        3,
    ]
    assert result["lazy"] == ["odd_only[0]", 1, "odd_only[2]", 3]
    assert sorted(traces(tmp_path)) == ["1", "3"]
    assert [getattr(each, "address", each) for each in result["doubled"]] == ["odd_only[0]", 2, "odd_only[2]", 6]
    assert (node(run, "odd_only").done, node(run, "odd_only").skipped, node(run, "odd_only").state) == (2, 2, "done")


def test_items_of_a_mapped_dag_may_be_skipped_too(tmp_path: Path) -> None:
    run = hardships.odd_rows.submit(folder=str(tmp_path), n=4)
    rows, left = run.result(SECONDS)
    assert rows[0] == ["odd_row[0]/odd_only", "ValueError", "0 is even"]
    assert left == [rows[1], rows[3]] == [{"beside": [0], "odd": 2}, {"beside": [0, 2, 4], "odd": 6}]
    skipped = {event.address for event in run.events() if event.kind == "skipped"}
    assert skipped == {"odd_row[0]", "odd_row[2]"}
    first, *others = run.tree().children[1].children
    assert (first.state, [child.state for child in others]) == ("skipped", ["done", "skipped", "done"])
    assert first.done + first.skipped == first.total == 4
    assert next(child.state for child in first.children if child.name == "odd_only") == "skipped"


def test_a_share_of_the_items_may_be_enough() -> None:
    told = hardships.enough.submit(n=4, least=2).result(SECONDS)
    assert told == [["half[0]", "ValueError", "0 is too small"], ["half[1]", "ValueError", "1 is too small"], 2, 3]


def test_items_that_cost_their_process_may_be_skipped_too() -> None:
    told = hardships.survivors.submit(n=6).result(SECONDS)
    assert [each[:2] if isinstance(each, list) else each for each in told] == [
        0,
        ["perilous[1]", "dagcelery.errors.TimeLimitExceeded"],
        2,
        3,
        ["perilous[4]", "dagcelery.errors.PieceDied"],
        5,
    ]


def test_a_share_that_is_not_reached_fails_the_run() -> None:
    run = hardships.enough.submit(n=4, least=3)
    assert failure(run).address.startswith("half[")
    assert run.state is RunState.FAILED


def test_branches_that_do_not_depend_on_a_failure_may_be_finished(tmp_path: Path) -> None:
    run = hardships.independent.submit(folder=str(tmp_path))
    assert failure(run).address == "broken"
    assert traces(tmp_path) == ["beside", "behind it"]


# -- time limits -------------------------------------------------------------------------------
def test_a_soft_limit_is_an_error_that_a_task_may_catch(tmp_path: Path) -> None:
    assert hardships.tidies_up.submit(folder=str(tmp_path)).result(SECONDS) == "tidied up"


def test_a_soft_limit_that_is_not_caught_fails_the_node_and_spares_the_process(tmp_path: Path) -> None:
    assert failure(hardships.sleepy.submit(folder=str(tmp_path))).type_name.endswith("SoftTimeLimitExceeded")
    (pid,) = traces(tmp_path)
    assert Path("/proc", pid).exists()


@pytest.mark.parametrize("stubborn", [hardships.too_slow, hardships.deaf], ids=["sleeps", "is deaf"])
def test_a_hard_limit_ends_the_process_and_fails_the_node(
    tmp_path: Path, hard: Cluster, stubborn: TaskFunction[..., Any]
) -> None:
    before = hard.pids
    error = failure(stubborn.submit(folder=str(tmp_path)))
    assert error.type_name == "dagcelery.errors.TimeLimitExceeded"
    assert "longer than its time limit of 0.2 s" in error.message
    (pid,) = traces(tmp_path)
    assert not Path("/proc", pid).exists()
    assert hard.pids == before
    assert hardships.numbers.submit(n=2).result(SECONDS) == [0, 1]


def test_what_a_hard_limit_ended_is_retried_where_the_policy_says_so(tmp_path: Path) -> None:
    assert hardships.slow_at_first.submit(folder=str(tmp_path)).result(SECONDS) == "in time"
    assert traces(tmp_path) == ["called", "called"]


def test_of_a_fan_out_only_the_item_that_takes_too_long_fails(tmp_path: Path) -> None:
    run = hardships.slow_among.submit(folder=str(tmp_path), n=6)
    error = failure(run)
    assert (error.address, error.type_name) == ("slow_item[3]", "dagcelery.errors.TimeLimitExceeded")
    assert (node(run, "slow_item").done, node(run, "slow_item").failed) == (5, 1)


def test_what_nobody_starts_in_time_names_the_queue_that_nobody_serves() -> None:
    error = failure(hardships.unserved.submit())
    assert error.type_name == "dagcelery.errors.NotStarted"
    assert "no live worker consumes queue 'nobody'" in error.message


def test_what_busy_workers_do_not_start_in_time_says_so(tmp_path: Path) -> None:
    run = hardships.busy.submit(folder=str(tmp_path))
    error = failure(run)
    (tmp_path / "go").touch()
    assert (error.address, traces(tmp_path)) == ("queued", [])
    assert "the workers of queue 'solo' were busy" in error.message


# -- deaths ------------------------------------------------------------------------------------
def test_a_task_that_ends_its_process_fails_after_three_deaths(tmp_path: Path, hard: Cluster) -> None:
    before = hard.pids
    error = failure(hardships.leaves.submit(folder=str(tmp_path)))
    assert (error.address, error.type_name) == ("leaves", "dagcelery.errors.PieceDied")
    assert "3 processes died while they ran it" in error.message
    assert traces(tmp_path) == ["called"] * 3
    assert hard.pids == before


def test_of_a_fan_out_only_the_fatal_item_fails(tmp_path: Path) -> None:
    run = hardships.fatal_among.submit(folder=str(tmp_path), n=12)
    error = failure(run)
    assert (error.address, error.type_name) == ("fatal[5]", "dagcelery.errors.PieceDied")
    assert (node(run, "fatal").done, node(run, "fatal").failed) == (11, 1)
    assert 3 <= traces(tmp_path).count("died") <= 8
