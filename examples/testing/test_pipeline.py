"""Tests of a DAG, from the cheapest to the hardest: run them with `pytest`; nothing else is needed.

Notice that a test names the fixture that it needs: `dag_invoke` for this process, `dag_cluster` for Celery workers and
a server on this machine, `dag_faults` for workers that can be killed. All tests share those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from orders import close_of_business, day

from dagcelery import RunState, errors
from dagcelery.local import Cluster
from dagcelery.testing.faults import FaultyCluster

SECONDS = 60
BOOKED = {"total": 350, "parcels": ["a parcel for 1.00", "a parcel for 2.50"]}


def test_the_body_as_plain_python() -> None:
    assert day([100, 250]) == BOOKED


def test_in_this_process(dag_invoke: Callable[..., Any]) -> None:
    assert dag_invoke(day, {"orders": [100, 250]}) == BOOKED


def test_what_fails_is_named(dag_invoke: Callable[..., Any]) -> None:
    with pytest.raises(errors.NodeFailed, match=r"charge\[1\] failed with ValueError: 0 cents cannot be charged"):
        dag_invoke(day, {"orders": [100, 0]})


def test_code_that_submits_runs_in_this_process_too(dag_invoke: Callable[..., Any]) -> None:
    assert close_of_business([100, 250]) == "350 cents"


def test_on_workers(dag_cluster: Cluster) -> None:
    run = day.submit(orders=[100, 250])
    assert run.result(timeout=SECONDS) == BOOKED
    assert {node.name: node.queue for node in run.status().nodes}["pack"] == "press"


def test_without_a_worker_a_run_waits(dag_cluster: Cluster) -> None:
    dag_cluster.stop_workers()
    run = day.submit(orders=[100, 250])
    assert run.state is RunState.PENDING
    dag_cluster.start_worker()
    assert run.result(timeout=SECONDS) == BOOKED


def test_a_process_that_is_killed_does_no_harm(dag_faults: FaultyCluster) -> None:
    run = day.submit(orders=[100, 250] * 50)
    dag_faults.kill_child()
    assert run.result(timeout=SECONDS)["total"] == 17500


def test_a_restart_of_redis_does_no_harm(dag_faults: FaultyCluster) -> None:
    run = day.submit(orders=[100, 250] * 50)
    dag_faults.restart_server()
    assert run.result(timeout=SECONDS)["total"] == 17500
