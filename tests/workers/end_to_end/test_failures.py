"""A failing task fails its run with all that a person needs to know, and harms nothing else."""

from __future__ import annotations

from pathlib import Path

import pipelines
import pytest

from dagcelery import RunState, dag, task
from dagcelery.errors import NodeFailed

from .site import Site

SECONDS = 60.0


def test_a_failing_node_is_named_with_type_message_and_remote_traceback(at: Site) -> None:
    run = pipelines.failing.submit(n=10)
    with pytest.raises(NodeFailed) as caught:
        run.result(timeout=SECONDS)
    error = caught.value
    assert (error.address, error.type_name, error.message) == ("boom[3]", "ValueError", "no 3")
    assert 'userland/pipelines.py", line' in error.traceback
    assert 'raise ValueError(f"no {x}")' in error.traceback
    assert "Traceback of boom[3], where it ran" in error.__notes__[0]


def test_a_failed_run_has_ended_and_says_where(at: Site) -> None:
    run = pipelines.failing.submit(n=10)
    with pytest.raises(NodeFailed):
        run.result(timeout=SECONDS)
    status = run.status()
    assert (run.state, status.state, status.failed) == (RunState.FAILED, RunState.FAILED, "boom[3]")
    assert status.ended >= status.started >= status.created > 0
    states = {node.name: (node.state, node.failed, node.done) for node in status.nodes}
    assert states["numbers"] == ("done", 0, 1)
    assert states["boom"][:2] == ("failed", 1)
    assert states["total"] == ("stopped", 0, 0)


def test_what_had_not_started_when_the_run_failed_never_starts(at: Site, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with pytest.raises(NodeFailed):
        pipelines.failing_between.submit(path=str(trace), bad=3).result(timeout=SECONDS)
    pipelines.row.submit(k=3).result(timeout=SECONDS)
    assert trace.read_text() == "3\n"


def test_a_piece_that_is_alive_when_the_run_fails_may_still_commit(at: Site, tmp_path: Path) -> None:
    file = tmp_path / "go"
    run = pipelines.failing_beside.submit(path=str(file))
    with pytest.raises(NodeFailed, match="node first_then_fail failed with ValueError: 7 cannot be"):
        run.result(timeout=SECONDS)
    file.write_text("late")
    at.await_event(run.id, "done")
    counts = {node.name: (node.done, node.failed) for node in run.status().nodes}
    assert counts == {"wait_for": (1, 0), "first_then_fail": (0, 1)}
    assert run.state is RunState.FAILED


@pytest.mark.parametrize("code", [0, 1])
def test_a_task_that_exits_fails_its_node_and_leaves_the_worker_alive(at: Site, code: int) -> None:
    before = set(pids(at))
    with pytest.raises(NodeFailed, match="node leave failed with SystemExit"):
        pipelines.leave.submit(x=code).result(timeout=SECONDS)
    assert set(pids(at)) == before


def pids(at: Site) -> list[int]:
    """The children of the worker that runs untainted tasks."""
    task_dir = Path(f"/proc/{at.workers['cpu'].pid}/task/{at.workers['cpu'].pid}/children")
    return [int(pid) for pid in task_dir.read_text().split()]


def test_a_function_that_no_worker_has_waits_for_as_long_as_it_may_and_the_failure_says_what_is_missing(
    at: Site,
) -> None:
    with pytest.raises(NodeFailed) as caught:
        only_here.submit(x=1).result(timeout=SECONDS)
    assert caught.value.type_name == "dagcelery.errors.NotStarted"
    assert f"a worker of queue 'celery' lacks module '{__name__}'" in caught.value.message


@task(start_within=1)
def only_here(x: int) -> int:
    return x


def test_a_result_that_json_would_change_fails_its_node_with_the_remedy(at: Site) -> None:
    with pytest.raises(NodeFailed) as caught:
        pipelines.as_set.submit(xs=[1]).result(timeout=SECONDS)
    assert caught.value.type_name == "dagcelery.errors.SerializationError"
    assert "output 'return_value' of node 'as_set'" in caught.value.message
    assert "AsPickle" in caught.value.message


def test_a_failure_in_a_mapped_dag_is_addressed_with_the_items_around_it(at: Site) -> None:
    @dag
    def inner(k: int) -> list[int]:
        return [pipelines.boom(x) for x in pipelines.numbers(k)]

    @dag
    def outer(n: int) -> list[list[int]]:
        return [inner(k) for k in pipelines.numbers(n)]

    run = outer.submit(n=5)
    with pytest.raises(NodeFailed) as caught:
        run.result(timeout=SECONDS)
    assert caught.value.address == run.status().failed == "inner[4]/boom[3]"
