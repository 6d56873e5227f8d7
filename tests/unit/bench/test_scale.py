"""Simulated workers on a real server, and the floor: both end, and leave nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from bench import loads
from bench.floor import floor
from bench.scale import Graph, simulate
from dagcelery.client import plan_of
from dagcelery.local import Server
from dagcelery.planner.plan import DEFAULT_QUEUE


@pytest.mark.parametrize(
    ("dag", "items", "nodes"),
    [(loads.stencil.__dag__(width=4, steps=3), 0, 13), (loads.map_reduce.__dag__(), 300, 302)],
    ids=["stencil", "map"],
)
def test_all_nodes_of_several_runs_are_done_by_simulated_workers(
    server: Server, dag: Any, items: int, nodes: int
) -> None:
    graph = Graph.of(plan_of(dag, queue=DEFAULT_QUEUE), items)
    figures = simulate(server.url, graph, runs=2, workers=3, processes=1)
    assert (graph.size, figures.nodes) == (nodes, 2 * nodes)
    assert figures.messages >= 2
    with redis.Redis.from_url(server.url) as client:
        assert list(client.scan_iter(match="dagcelery:{scale-*")) == []


def test_the_floor_is_measured_and_removed(server: Server) -> None:
    with redis.Redis.from_url(server.url) as client:
        assert floor(client, 4, nodes=40) > 0
        assert client.keys() == []
