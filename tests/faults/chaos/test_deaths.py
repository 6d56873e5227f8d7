"""A process dies before and after each call of the store, and around each message: the run ends right, soon."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import pytest

from chaos import checks, trials
from chaos.graphs import Case, batches, bulky, growth, linger, map_reduce, nested_map, wide, zigzag
from chaos.storm import OF_CHILDREN, OF_MAINS, orders
from dagcelery.testing.faults import FaultyCluster

SECONDS = 60.0
CALLED_BY: dict[str, tuple[Any, dict[str, Any]]] = {
    "blocks": (bulky, {"n": 2}),
    "values": (wide, {"width": 510, "x": 1}),
    "send": (zigzag, {"x": 1}),
    "delegate": (nested_map, {"n": 4}),
    "number": (growth, {"size": 4, "x": 1}),
    "child_plans": (growth, {"size": 8, "x": 1}),
    "batched_piece": (batches, {"width": 40, "x": 1}),
    "portion": (batches, {"width": 40, "x": 1}),
}
"""What makes workers call what a small map-reduce would not."""


@pytest.mark.parametrize("operation", OF_CHILDREN)
def test_children_that_die_around_a_call_cost_nothing_but_time(faulty: FaultyCluster, operation: str) -> None:
    names = [faulty.order_death(order) for order in orders([operation], "child")]
    node, params = CALLED_BY.get(operation, (map_reduce, {"n": 30}))
    case, again = Case(0, operation, node, params), 0
    with closing(checks.raw_client(faulty.local.server.url)) as raw:
        while not all(map(faulty.ledger.has_died, names)):
            again += 1
            assert again < 100, f"nobody came to {operation}"
            assert not trials.tried(faulty.client, raw, case, f"{names[0]}/{again}", SECONDS).violations


@pytest.mark.parametrize("operation", ["claim", "finish", "delegate"])
def test_children_that_die_around_a_call_cost_a_growing_graph_nothing_but_time(
    faulty: FaultyCluster, operation: str
) -> None:
    names = [faulty.order_death(order) for order in orders([operation], "child")]
    case, again = Case(0, operation, growth, {"size": 4, "x": 1}), 0
    with closing(checks.raw_client(faulty.local.server.url)) as raw:
        while not all(map(faulty.ledger.has_died, names)):
            again += 1
            assert again < 100, f"nobody came to {operation}"
            assert not trials.tried(faulty.client, raw, case, f"grown/{names[0]}/{again}", SECONDS).violations


@pytest.mark.parametrize("operation", OF_MAINS)
def test_workers_that_die_around_a_call_cost_nothing_but_time(faulty: FaultyCluster, operation: str) -> None:
    names = [faulty.order_death(order) for order in orders([operation], "main")]
    runs, until = [], time.monotonic() + SECONDS
    while not all(map(faulty.ledger.has_died, names)):
        assert time.monotonic() < until, f"nobody came to {operation}"
        runs.append(faulty.client.submit(linger, {"seconds": 0.3}))  # longer than a beat, so that sweeps meet it
        time.sleep(0.1)
        if operation == "send":
            faulty.kill_child()  # its main process tells others of what it gives back
        faulty.replenish(2)
    faulty.replenish(2)
    assert {run.result(timeout=SECONDS) for run in runs} == {0.3}
