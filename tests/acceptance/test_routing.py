"""Rows 75 to 81: which worker runs what, and in which order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from celery import Celery

from dagcelery import Task, dag, task
from dagcelery.compat.dagger import dsl
from dagcelery.local import Cluster

from .conftest import eventually, worker
from .vocabulary import double, identity, map_reduce


def where(definition: Any, **params: Any) -> dict[str, str]:
    """The queue of each node."""
    return {node.name: node.queue for node in definition.submit(**params).status().nodes}


def consumed(at: Cluster) -> set[str]:
    """The queues that workers consume, once one has said that it is alive."""
    words = eventually(lambda: at.client.store.fleet.workers())
    return {queue for word in words.values() for queue in word["queues"]}


def test_row_075_named_queue_for_a_task(eager: Celery) -> None:
    assert where(task(queue="slow")(identity), x=1) == {"identity": "slow"}
    assert where(dag(lambda: double.options(queue="big")(1))) == {"double": "big"}


def test_row_077_taint(eager: Celery) -> None:
    assert where(task(taint="gpu")(identity), x=1) == {"identity": "gpu"}
    assert where(task(taint=("ssd", "gpu"))(identity), x=1) == {"identity": "gpu+ssd"}


@pytest.mark.parametrize(
    ("options", "queues"),
    [
        (["--include-queue", "night", "--include-queue", "day"], {"night", "day"}),
        (["--toleration", "gpu", "--exclude-queue", "celery"], {"gpu"}),
    ],
    ids=["include", "exclude"],
)
def test_row_079_include_and_exclude_queues(empty: Cluster, options: list[str], queues: set[str]) -> None:
    with worker(empty, *options):
        assert consumed(empty) == queues


def test_row_080_earlier_runs_first(empty: Cluster) -> None:
    runs = [map_reduce.submit(n=n) for n in (3, 2, 1)]
    empty.start_worker(1)
    assert [run.result(timeout=30) for run in runs] == [6, 2, 0]
    times = [(run.status().started, run.status().ended) for run in runs]
    assert times == sorted(times)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(times))


def test_row_081_runtime_options_of_a_node() -> None:
    assert Task(dict, runtime_options={"pod": {"cpu": 2}}).runtime_options["pod"] == {"cpu": 2}
    made = dsl.build(dsl.DAG(runtime_options={"a": 1})(lambda: dsl.task(runtime_options={"b": 2})(lambda: 1)()))
    assert [made.runtime_options, made.nodes["lambda"].runtime_options] == [{"a": 1}, {"b": 2}]
