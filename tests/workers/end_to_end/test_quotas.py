"""So many and no more: pieces of a task, runs of a DAG; and hooks of tasks."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest
import quotas

from dagcelery import Run, dag, submit, task
from dagcelery.errors import NodeFailed

pytestmark = pytest.mark.usefixtures("hard")


def notes(folder: Path) -> list[str]:
    return [line.split(" ", 1)[1] for line in (folder / "notes").read_text().splitlines()]


def test_pieces_of_a_task_run_as_many_at_once_as_it_says(tmp_path: Path) -> None:
    assert quotas.one_by_one.submit(6, str(tmp_path)).result(30) == 15
    assert notes(tmp_path) == ["begins", "ends"] * 6


def test_pieces_of_several_runs_share_the_limit_of_their_task(tmp_path: Path) -> None:
    runs = [quotas.one_by_one.submit(2, str(tmp_path)) for _ in range(3)]
    assert [run.result(30) for run in runs] == [1, 1, 1]
    assert notes(tmp_path) == ["begins", "ends"] * 6


def test_a_place_is_free_again_when_its_process_has_died(tmp_path: Path) -> None:
    assert quotas.survives.submit(str(tmp_path)).result(30) == 1


def test_runs_of_a_dag_are_active_one_after_the_other_as_it_says(tmp_path: Path) -> None:
    runs = [quotas.one_run.submit(str(tmp_path)) for _ in range(3)]
    assert [run.result(30) for run in runs] == [1, 1, 1]
    assert notes(tmp_path) == ["begins", "ends"] * 3
    started = [run.status().started for run in runs]
    assert started == sorted(started)


def test_a_run_that_waits_for_others_can_be_cancelled(tmp_path: Path) -> None:
    first, second, third = (quotas.one_run.submit(str(tmp_path)) for _ in range(3))
    assert second.cancel("not needed") == "cancelled"
    assert [first.result(30), third.result(30)] == [1, 1]
    assert len(notes(tmp_path)) == 4


def told_by(node: object, folder: Path, lines: int) -> list[str]:
    """What the hooks were told, in so many lines, of a run of a DAG that is called after the folder."""
    run: Run[object] = submit(node, {})  # type: ignore[arg-type]
    with suppress(NodeFailed):
        run.result(30)
    # A hook is called when the store knows, and then the result is there too.
    until = time.monotonic() + 10
    while len(notes(folder)) < lines and time.monotonic() < until:
        time.sleep(0.01)
    return sorted(notes(folder))


def test_a_task_s_hooks_are_told_of_each_of_its_pieces(tmp_path: Path) -> None:
    def body() -> list[int]:
        return [quotas.odd(x) for x in quotas.names(3)]

    told = told_by(dag(name=f"d@{tmp_path}")(body), tmp_path, 5)
    assert told == [
        "done odd[0]  2",
        "done odd[1]  1",
        "done odd[2]  2",
        "retried odd[0] ValueError: even 1",
        "retried odd[2] ValueError: even 1",
    ]


def test_a_task_s_hook_is_told_of_its_failure(tmp_path: Path) -> None:
    told = told_by(dag(name=f"d@{tmp_path}")(lambda: quotas.broken()), tmp_path, 1)
    assert told == ["failed broken OSError: gone 1"]


def test_an_error_of_a_hook_changes_nothing() -> None:
    def bad(notice: object) -> None:
        raise RuntimeError("of the hook")

    assert submit(task(on_success=bad)(quotas.names.fn), {"n": 2}).result(30) == [0, 1]


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
