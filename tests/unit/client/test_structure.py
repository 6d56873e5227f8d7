"""The graph of a run as data: the same nodes as its status has, in their boxes, and what each of them waits for."""

from __future__ import annotations

from typing import Any

from dagcelery import dag, task
from dagcelery.client.status import run_status
from dagcelery.client.structure import structure

from ..engine.worlds import World
from .test_nodes import double, everything, grown, one, total


@task(taint=("ssd", "gpu"))
def heavy(x: int) -> int:
    return x


@dag
def inner(x: int) -> int:
    return double(heavy(x))


@dag
def crawled(x: int) -> Any:
    return grown(x)


@dag
def nested(xs: list[int]) -> Any:
    first = inner(inner(1))
    ys = [crawled(x) for x in xs]
    zs = [one(double(x)) for x in xs]
    return total([first, *zs]), ys, total.after(first)(xs)


def test_its_nodes_are_those_of_the_status_and_the_boxes_around_them() -> None:
    for graph, params in ((everything, {"n": 3, "xs": [4, 0]}), (nested, {"xs": [1, 2]})):
        world = World()
        run_id = world.ended(graph, **params)
        found = structure(world.engine("reader"), run_id)
        addresses = [node.address for node in found.nodes if node.kind != "dag"]
        assert sorted(addresses) == sorted(node.name for node in run_status(world.client, run_id).nodes)
        at = {node.address: index for index, node in enumerate(found.nodes)}
        assert all(not node.parent or at[node.parent] < at[node.address] for node in found.nodes)
        assert all({edge.source, edge.target} <= at.keys() for edge in found.edges)
        assert found.to_dict()["edges"][0].keys() == {"from", "to", "kind"}


def test_it_says_where_a_node_lies_what_it_is_and_what_it_waits_for() -> None:
    world = World()
    found = structure(world.engine("reader"), world.ended(nested, xs=[1, 2]))
    kinds = {node.address: (node.kind, node.parent) for node in found.nodes}
    assert kinds["inner-2"] == ("dag", "")
    assert kinds["inner-2/heavy"] == ("task", "inner-2")
    assert kinds["crawled[*]/grown"] == ("dynamic", "crawled")
    assert kinds["crawled[1]/grown/total"] == ("task", "crawled[*]/grown")
    assert kinds["one"] == ("mapped dag", "")
    assert next(node.taints for node in found.nodes if node.label == "heavy") == ("gpu", "ssd")
    edges = {(edge.source, edge.target): edge.kind for edge in found.edges}
    assert edges["double", "one"] == "item"
    assert edges["one", "total"] == edges["inner-2/double", "total"] == "data"
    assert edges["inner-2/double", "total-2"] == "order"
