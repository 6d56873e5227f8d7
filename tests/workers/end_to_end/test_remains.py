"""What a run leaves in the store lives for a bounded time, and says how far every node is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pipelines
import pytest
import redis

from dagcelery import RunState, dag
from dagcelery.errors import NodeFailed

from .site import Site

SECONDS = 60.0


def without_ttl(raw: redis.Redis) -> list[bytes]:
    """Keys that would stay for ever; the broker's own lists and bindings are Celery's."""
    brokers = (b"_kombu.", b"unacked", b"celery", b"gpu", b"bulk", b"watched", b"nobody", b"team", b"keyless")
    return [
        name
        for name in raw.scan_iter(count=1_000)
        if raw.ttl(name) == -1 and (not name.startswith(brokers) or name.startswith(b"celery-task-meta"))
    ]


def test_every_key_has_a_time_to_live_after_runs_of_all_kinds(at: Site, raw: redis.Redis) -> None:
    runs: list[Any] = [
        pipelines.map_reduce.submit(n=600),
        pipelines.map_in_map.submit(n=5),
        pipelines.zigzag.submit(x=1),
        pipelines.map_reduce_gpu.submit(n=0),
        pipelines.big.submit(length=3_000_000),
    ]
    for run in runs:
        run.result(timeout=SECONDS)
    with pytest.raises(NodeFailed):
        pipelines.failing.submit(n=10).result(timeout=SECONDS)
    assert without_ttl(raw) == []


def test_the_status_of_a_finished_run_counts_every_piece(at: Site) -> None:
    run = pipelines.map_reduce_gpu.submit(n=30)
    run.result(timeout=SECONDS)
    status = run.status()
    assert (status.id, status.name, status.state) == (run.id, "pipelines:map_reduce_gpu", RunState.DONE)
    assert status.created <= status.started <= status.ended
    assert (status.failed, status.reason) == ("", "")
    rows = [(n.name, n.queue, n.is_fan_out, n.total, n.done, n.running, n.failed, n.waiting) for n in status.nodes]
    assert rows == [
        ("numbers", "celery", False, 1, 1, 0, 0, 0),
        ("power", "celery", True, 30, 30, 0, 0, 0),
        ("gpu_total", "gpu", False, 1, 1, 0, 0, 0),
    ]
    assert all(status.created <= node.started <= node.ended <= status.ended for node in status.nodes)


def test_the_nodes_of_a_mapped_dag_are_counted_over_all_its_scopes(at: Site) -> None:
    run = pipelines.map_in_map.submit(n=4)
    run.result(timeout=SECONDS)
    counts = {node.name: (node.total, node.done, node.state) for node in run.status().nodes}
    assert counts["row"] == (4, 4, "done")
    assert counts["row[*]/numbers"] == (4, 4, "done")
    assert counts["row[*]/power"] == (0 + 1 + 2 + 3, 6, "done")
    assert counts["row[*]/total"] == (4, 4, "done")


def test_a_run_that_goes_on_says_what_is_running_and_what_waits(at: Site, tmp_path: Path) -> None:
    file = tmp_path / "go"

    @dag
    def held(path: str) -> list[Any]:
        return [pipelines.add(1, 1), pipelines.echo(pipelines.wait_for(path))]

    run = held.submit(path=str(file))
    at.await_event(run.id, "done")
    states = {node.name: node.state for node in run.status().nodes}
    assert run.state is RunState.RUNNING
    assert (states["add"], states["echo"]) == ("done", "waiting")
    file.write_text("went")
    assert run.result(timeout=SECONDS) == [2, "went"]
