"""Simulated workers on a real server, and the floor: both end, and leave nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from bench.floor import floor
from bench.loads import increment, map_reduce, total
from bench.scale import Graph, simulate
from dagcelery import dag
from dagcelery.client import plan_of
from dagcelery.local import Server
from dagcelery.planner.plan import DEFAULT_QUEUE


@dag
def two_rows(x: int) -> int:
    first = [increment(x) for _ in range(5)]
    return total([total([first[i - 1], first[i]]) for i in range(5)])


@pytest.mark.parametrize(("graph", "items", "nodes"), [(two_rows, 0, 11), (map_reduce, 300, 302)], ids=["rows", "map"])
def test_all_nodes_of_several_runs_are_done_by_simulated_workers(
    server: Server, graph: Any, items: int, nodes: int
) -> None:
    simulated = Graph.of(plan_of(graph, queue=DEFAULT_QUEUE), items)
    figures = simulate(server.url, simulated, runs=2, workers=3, processes=1)
    assert (simulated.size, figures.nodes) == (nodes, 2 * nodes)
    assert figures.messages >= 2
    with redis.Redis.from_url(server.url) as client:
        assert list(client.scan_iter(match="dagcelery:{scale-*")) == []


def test_the_floor_is_measured_and_removed(server: Server) -> None:
    with redis.Redis.from_url(server.url) as client:
        assert floor(client, 4, nodes=40) > 0
        assert client.keys() == []
