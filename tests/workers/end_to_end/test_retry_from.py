"""On real workers, what is taken back is executed again, and whoever still worked on it changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import rewindable

from dagcelery import DagFunction, Run, RunState

from .hard import SECONDS, eventually, node

pytestmark = pytest.mark.usefixtures("hard")


def told(folder: Path, number: int) -> None:
    (folder / "outside").write_text(str(number))


def expected(rows: int, scale: int) -> int:
    return sum(x * scale + 1 for x in range(rows))


@pytest.mark.parametrize("dag", [rewindable.nested, rewindable.lean])
def test_what_changed_outside_arrives_in_the_result(tmp_path: Path, dag: DagFunction[..., int]) -> None:
    told(tmp_path, 40)
    run: Run[int] = dag.submit(folder=str(tmp_path))
    assert run.result(SECONDS) == expected(40, 40)
    for rows in (60, 0, 25):
        told(tmp_path, rows)
        assert run.retry_from("rows").result(SECONDS) == expected(rows, rows)
        assert (node(run, "inner").total, node(run, "inner").done) == (rows, rows)


def test_who_still_works_on_what_was_taken_back_changes_nothing(tmp_path: Path) -> None:
    told(tmp_path, 9)
    (tmp_path / "hold").touch()
    run: Run[int] = rewindable.nested.submit(folder=str(tmp_path))
    eventually(lambda: node(run, "inner[*]/scaled").running)
    assert run.cancel() is RunState.CANCELLED
    told(tmp_path, 7)
    run.retry_from("rows")
    (tmp_path / "hold").unlink()
    assert run.result(SECONDS) == expected(7, 7)
