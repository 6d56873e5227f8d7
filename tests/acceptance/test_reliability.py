"""Rows 82 to 91: what happens when something fails, dies, hangs or changes."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dagcelery import (
    Notice,
    Pipeline,
    Retry,
    Run,
    RunState,
    dag,
    errors,
    exponential,
    invoke,
    stage,
    static,
    submit,
    task,
)
from dagcelery.local import Cluster

from .conftest import eventually
from .vocabulary import hold


def until_held(folder: Path, times: int = 1) -> list[str]:
    """Wait until `hold` was called so often, and return the processes."""
    pids = folder / "pids"
    return eventually(lambda: len(found := pids.read_text().split() if pids.exists() else []) >= times and found) or []


def waits_of(retry: Retry) -> list[float]:
    """Return how long a task that always fails waited between its calls; a loaded machine can only make it longer."""
    calls: list[float] = []

    @task(retry=retry)
    def failing() -> None:
        calls.append(time.monotonic())
        raise OSError("no")

    with pytest.raises(errors.NodeFailed, match="OSError: no"):
        invoke(failing)
    return [later - earlier for earlier, later in pairwise(calls)]


def test_row_082_static_retry() -> None:
    waits = waits_of(Retry(max_attempts=3, wait=static(0.05)))
    assert len(waits) == 2
    assert min(waits) > 0.04


def test_row_083_exponential_retry_with_jitter() -> None:
    first, second = waits_of(Retry(max_attempts=3, wait=exponential(base=0.05, jitter=False)))
    assert first > 0.04
    assert second > 0.08
    assert exponential().jitter
    assert len(waits_of(Retry(max_attempts=4, wait=exponential(base=0.001)))) == 3


@task
def deliver(outbox: str) -> None:
    raise OSError(outbox)


def mail(notice: Notice) -> None:
    """Write what an e-mail would say; where to is all that the error says."""
    run: Run[Any] = Run(notice.run_id)
    (failure,) = run.errors()
    Path(failure.message).write_text(f"{notice.name} {notice.state} at {notice.address}: {failure.type_name}")


@dag(name="nightly", on_failure=mail)
def nightly(outbox: str) -> None:
    deliver(outbox)


def test_row_090_notice_of_a_failure_that_an_e_mail_can_be_made_of(tmp_path: Path, cluster: Cluster) -> None:
    outbox = tmp_path / "outbox"
    with pytest.raises(errors.NodeFailed):
        nightly.submit(outbox=str(outbox)).result(timeout=30)
    told = eventually(lambda: outbox.read_text() if outbox.exists() else "")
    assert told == "nightly failed at deliver: OSError"


@stage
def held(folder: str) -> None:
    hold(folder)


@stage
def quick() -> None: ...


def test_row_091_progress_of_a_run_in_redis(tmp_path: Path, cluster: Cluster) -> None:
    pipeline, first = Pipeline(), quick()
    second = held(str(tmp_path)).after(first)
    pipeline.add_stages([first, second, quick().after(second)])
    run = submit(pipeline)
    until_held(tmp_path)
    assert Run(run.id).state is RunState.RUNNING
    assert [(node.name, node.state) for node in Run(run.id).status().nodes] == [
        ("quick", "done"),
        ("held", "running"),
        ("quick-2", "waiting"),
    ]
    (tmp_path / "go").touch()
    run.result(timeout=30)
    assert {node.state for node in run.status().nodes} == {"done"}
