"""A node that waits says what for: other nodes, a worker, a place, its next attempt, or its run's turn."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dagcelery import NodeStatus, Retry, Run, dag, errors, task
from dagcelery.client.reasons import Blockers, Reason, reason
from dagcelery.local import Cluster

from .conftest import SECONDS
from .vocabulary import elsewhere, numbers, patient, row, square, stranded, total, waits


@task(retry=Retry(max_attempts=2, wait=3600))
def later() -> int:
    raise OSError


@dag
def tried_later() -> int:
    return square(later())


@task(max_concurrent=1)
def alone(path: str) -> int:
    return patient(path)


@dag
def two_alone(path: str) -> list[int]:
    return [alone(path), alone(path)]


@dag
def within(path: str) -> int:
    return total([row(x) for x in numbers(patient(path))])


@dag(max_active_runs=1)
def one_at_a_time(path: str) -> int:
    return patient(path)


@task
def broken() -> int:
    raise ValueError


@dag(fail_fast=False)
def goes_on(path: str) -> list[int]:
    return [square(broken()), patient(path)]


@dag
def one_file(x: int) -> int:
    return elsewhere(square(x))


@dag
def files(n: int) -> int:
    return total([one_file(x) for x in numbers(n)])


def reasons(run: Run[Any]) -> dict[str, str]:
    return {node.name: node.why for node in run.status().nodes}


def eventually(run: Run[Any], node: str, why: str) -> dict[str, str]:
    """The reasons, as soon as that of a node is this one."""
    until = time.monotonic() + SECONDS
    while (found := reasons(run))[node] != why:
        assert time.monotonic() < until, found
    return found


def test_a_queue_without_workers_is_named() -> None:
    run = stranded.submit(n=1)
    assert reasons(run) == {"elsewhere": "no worker listens to queue nobody", "square": "needs elsewhere"}
    run.cancel()
    assert set(reasons(run).values()) == {""}


def test_what_needs_somebody_comes_first_also_for_one_who_waits_in_vain() -> None:
    run = files.submit(n=3)
    why = "no worker listens to queue nobody (3 ready)"
    found = eventually(run, "one_file[*]/elsewhere", why)
    assert (found["one_file"], found["total"]) == ("needs one_file[*]/elsewhere", "needs one_file")
    status = run.status()
    assert status.news == f"one_file[*]/elsewhere: {why}"
    counts = {node.name: (node.total, node.done, node.running, node.state) for node in status.nodes}
    assert counts["one_file"] == (3, 0, 0, "waiting"), "what was entered does not run"
    for wait in (run.result, lambda timeout: asyncio.run(run.aresult(timeout))):
        with pytest.raises(errors.ResultTimeout) as refused:
            wait(0)
        assert f"it is running (one_file[*]/elsewhere: {why}" in str(refused.value)
    run.cancel()
    assert {node.state for node in run.status().nodes} == {"done", "stopped"}


def test_a_piece_that_may_commit_after_the_end_is_told(tmp_path: Path) -> None:
    run = waits.submit(path=str(tmp_path / "it"))
    eventually(run, "patient", "")
    run.cancel()
    first, *others = run.status().nodes
    assert (first.state, first.running, first.why) == ("stopped", 1, "still running, and may commit")
    assert {(node.state, node.waiting, node.why) for node in others} == {("stopped", 0, "")}
    (tmp_path / "it").touch()
    until = time.monotonic() + SECONDS
    while run.status().nodes[0].state != "done":
        assert time.monotonic() < until


def test_nodes_that_are_waited_for_are_named(tmp_path: Path) -> None:
    run = waits.submit(path=str(tmp_path / "it"))
    found = eventually(run, "patient", "")
    assert found == {
        "patient": "",
        "numbers": "needs patient",
        "square": "needs numbers",
        "total": "needs square",
    }
    (tmp_path / "it").touch()
    run.wait(SECONDS)
    assert set(reasons(run).values()) == {""}


def test_nodes_within_a_mapped_dag_wait_for_its_items(tmp_path: Path) -> None:
    run = within.submit(path=str(tmp_path / "it"))
    assert reasons(run)["row[*]/numbers"] == "needs items of row"
    (tmp_path / "it").touch()
    assert run.result(SECONDS) == 1


def test_a_failure_that_is_waited_for_is_said_to_be_one(tmp_path: Path) -> None:
    run = goes_on.submit(path=str(tmp_path / "it"))
    eventually(run, "square", "needs broken (failed)")
    (tmp_path / "it").touch()
    run.wait(SECONDS)


def test_what_is_tried_again_says_when() -> None:
    run = tried_later.submit()
    eventually(run, "later", "next attempt is not due yet (max_attempts=2)")
    node = run.status().nodes[0]
    assert node.state == "retrying"
    assert 3000 < node.due - time.time() < 3700
    run.cancel()


def test_what_waits_for_a_place_says_so(tmp_path: Path) -> None:
    run = two_alone.submit(path=str(tmp_path / "it"))
    until = time.monotonic() + SECONDS
    while "max_concurrent=1 reached (1 running)" not in reasons(run).values():
        assert time.monotonic() < until, reasons(run)
    (tmp_path / "it").touch()
    run.wait(SECONDS)


def test_a_run_that_waits_for_its_turn_says_so(tmp_path: Path) -> None:
    first, second = (one_at_a_time.submit(path=str(tmp_path / "it")) for _ in range(2))
    status = second.status()
    assert status.why == "max_active_runs=1 reached (1 active)"
    assert {node.why for node in status.nodes} == {""}
    (tmp_path / "it").touch()
    assert [first.result(SECONDS), second.result(SECONDS)] == [3, 3]


def test_a_worker_that_has_left_consumes_nothing(cluster: Cluster) -> None:
    store = cluster.client.store
    store.fleet.heartbeat("gone:1", ["nobody"], 2)
    run = stranded.submit(n=1)
    assert reasons(run)["elsewhere"] == "ready for one of 2 processes of queue nobody"
    store.fleet.retire("gone:1")
    assert reasons(run)["elsewhere"] == "no worker listens to queue nobody"
    run.cancel()


def node(name: str, *, total: int = 1, done: int = 0, running: int = 0) -> NodeStatus:
    return NodeStatus(name, "cpu", total != 1, total, done, running, 0, 1.0 if done else None, None)


@pytest.mark.parametrize(
    ("seen", "why"), [(3, "needs source"), (2, "ready for the only process of queue cpu")], ids=["all", "some"]
)
def test_an_element_wise_node_waits_for_items_only_if_it_has_seen_all_that_are_done(seen: int, why: str) -> None:
    nodes = {(0, 0): node("source", total=9, done=3), (0, 1): node("next", total=9, done=seen)}
    assert reason((0, 1), nodes, Blockers({}, {(0, 1): [(0, 0)]}, {}, {"cpu": 1})).why == why


def test_of_many_nodes_that_are_waited_for_a_few_are_named() -> None:
    nodes = {(0, at): node(f"n{at}") for at in range(6)}
    around = Blockers({(0, 5): [(0, at) for at in range(5)]}, {}, {}, {"cpu": 1})
    assert reason((0, 5), nodes, around).why == "needs n0, n1, n2 and 2 more"


def test_reasons_come_in_the_order_of_what_can_be_done_about_them() -> None:
    nodes = {(0, 0): node("source"), (0, 1): replace(node("next", total=3), retrying=1)}
    around = Blockers({(0, 1): [(0, 0)]}, {}, {}, {}, limits={(0, 1): (1, 1)})
    assert reason((0, 1), nodes, around) == Reason("no worker listens to queue cpu", is_stuck=True)
    around = replace(around, slots={"cpu": 1})
    assert reason((0, 1), nodes, around).why == "max_concurrent=1 reached (1 running)"
    around = replace(around, limits={})
    assert reason((0, 1), nodes, around).why == "next attempt is not due yet (max_attempts=1)"
    nodes[0, 1] = node("next", total=3)
    assert reason((0, 1), nodes, around).why == "needs source"
