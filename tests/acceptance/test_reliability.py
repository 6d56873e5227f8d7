"""Rows 82 to 91: what happens when something fails, dies, hangs or changes."""

from __future__ import annotations

import os
import signal
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
    Skipped,
    dag,
    errors,
    exponential,
    invoke,
    stage,
    static,
    submit,
    task,
)
from dagcelery.client import Client
from dagcelery.local import Cluster, cluster
from dagcelery.local.cluster import default_client

from . import vocabulary
from .conftest import QUICK, eventually
from .vocabulary import hold, map_reduce, numbers

TOLD: list[Notice] = []


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


def test_row_084_death_of_a_worker_returns_its_work(tmp_path: Path, empty: Cluster) -> None:
    first = empty.start_worker(1)
    run = hold.submit(folder=str(tmp_path))
    until_held(tmp_path)
    first.kill()
    empty.start_worker(1)
    (again,) = until_held(tmp_path, times=2)[1:]
    (tmp_path / "go").touch()
    assert run.result(timeout=60) == int(again)


def test_row_084_death_of_a_process_of_a_worker_returns_its_work(tmp_path: Path, empty: Cluster) -> None:
    empty.start_worker(1)
    run = hold.submit(folder=str(tmp_path))
    os.kill(int(until_held(tmp_path)[0]), signal.SIGKILL)
    until_held(tmp_path, times=2)
    (tmp_path / "go").touch()
    run.result(timeout=60)


def test_row_085_restart_of_the_broker_keeps_state(tmp_path: Path) -> None:
    with cluster(workers=0, directory=tmp_path / "kept", environment=QUICK) as made, default_client(made.client):
        run = map_reduce.submit(n=5)
        made.server.kill()
        made.server.start()
        made.start_worker(1)
        assert run.result(timeout=60) == 20


def test_row_086_change_of_code_is_noticed(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    run = vocabulary.until_fixed.submit(folder=str(tmp_path))
    with pytest.raises(errors.NodeFailed, match="not fixed"):
        run.result(timeout=30)
    (tmp_path / "fixed").touch()

    @task
    def fixable(folder: str) -> str:
        return "another"

    monkeypatch.setattr(vocabulary, "fixable", fixable)
    again: Run[str] = Run(run.id, client=Client(cluster.client.settings))  # as another process would find it
    with pytest.raises(errors.CodeMismatch, match="vocabulary:fixable"):
        again.resume()
    assert again.resume(allow_code_change=True).result(timeout=30) == "fixed"


@task(on_item_failure="skip")
def odd(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(f"{x} is even")
    return x


@task
def shown(xs: list[Any]) -> list[Any]:
    return [x.address if isinstance(x, Skipped) else x for x in xs]


@dag
def odds(n: int) -> list[Any]:
    return shown([odd(x) for x in numbers(n)])


def test_row_087_going_on_without_failed_items(cluster: Cluster) -> None:
    assert odds.submit(n=4).result(timeout=30) == ["odd[0]", 1, "odd[2]", 3]


def test_row_088_timeouts(tmp_path: Path, cluster: Cluster) -> None:
    with pytest.raises(errors.NodeFailed, match="TimeLimitExceeded"):
        hold.options(timeout=0.2).submit(folder=str(tmp_path)).result(timeout=30)
    with pytest.raises(errors.RunTimedOut):
        dag(lambda folder: hold(folder)).options(deadline=0.2).submit(folder=str(tmp_path)).result(timeout=30)
    (tmp_path / "go").touch()


def test_row_089_exit_hooks() -> None:
    TOLD.clear()
    good = dag(on_success=TOLD.append, on_failure=TOLD.append)(lambda: numbers(3))
    bad = dag(on_failure=TOLD.append)(lambda: numbers("x"))
    invoke(good)
    with pytest.raises(errors.NodeFailed):
        invoke(bad)
    assert [(notice.state, notice.address) for notice in TOLD] == [("done", ""), ("failed", "numbers")]


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
