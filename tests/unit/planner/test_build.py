"""Planning is bounded, fast, deterministic, and the same for every frontend."""

from __future__ import annotations

import inspect
import textwrap
import time

import pytest

from checkout import ROOT
from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional import dag, task
from dagcelery.model import DAG, FromParam, ListOf, Literal
from dagcelery.planner.compile import plan
from dagcelery.planner.topology import topology

from . import graphs
from .graphs import graph, nothing, out
from .interpreter import Scope


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def power(x: int, exponent: int = 2) -> int:
    return int(x**exponent)


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def sum_of_powers(n: int, exponent: int = 2) -> int:
    return total([power(x, exponent) for x in numbers(n)])


@dag
def no_barrier(n: int) -> list[int]:
    return [power(power(x), 3) for x in numbers(n)]


def big(size: int) -> DAG:
    """A graph with `size` nodes of two inputs each, and a join of all of them."""
    nodes = {"n0": graphs.task(graphs.square, x=FromParam("n"))}
    for i in range(1, size - 1):
        nodes[f"n{i}"] = graphs.task(graphs.add, x=out(f"n{max(0, i - 7)}"), y=out(f"n{i // 2}"))
    everything = ListOf(tuple(out(name) for name in nodes))
    return graph({**nodes, "all": graphs.task(graphs.total, xs=everything)}, "all", "n")


def test_a_chain_in_a_comprehension_has_no_barrier() -> None:
    entries = topology(plan(no_barrier.__dag__()))[0]
    assert [entry.item_waits for entry in entries.values()] == [0, 0, 1, 0, 0]


def test_a_plan_is_called_like_its_dag() -> None:
    assert plan(sum_of_powers.__dag__()).name == f"{__name__}:sum_of_powers"


def test_planning_time_grows_with_the_graph_and_no_faster() -> None:
    small, large = big(250), big(2000)
    assert min(_seconds(large) for _ in range(2)) < 30 * min(_seconds(small) for _ in range(3))


def test_a_dag_that_unfolds_without_end_is_refused_early() -> None:
    unfolding = graph({"f": graphs.task(nothing)}, "f")
    for _ in range(60):
        unfolding = graph({"a": unfolding, "b": unfolding}, "b")
    with pytest.raises(InvalidDag, match="more than 1,000 nodes"):
        plan(unfolding, max_nodes=1000)


def test_the_order_of_steps_is_that_of_the_nodes_where_they_may_start_together() -> None:
    nodes = {name: graphs.task(nothing) for name in ("z", "a", "m", "b")}
    assert [step.name for step in plan(graph(nodes, "b")).bodies[0].steps] == ["z", "a", "m", "b"]


def test_falsy_literals_and_defaults_are_values() -> None:
    values: tuple[object, ...] = (0, False, "", [], {}, None)
    for value in values:
        step = plan(graph({"f": graphs.task(graphs.square, x=Literal(value))}, "f")).bodies[0].steps[0]
        assert step.arguments == (("x", ("lit", value)),)
        inputs = {"x": FromParam(default_value=value)}
        param = plan(DAG({"f": graphs.task(nothing)}, inputs, {})).bodies[0].params[0]
        assert (param.required, param.default) == (False, ("lit", value))


def _seconds(model: DAG) -> float:
    # Time of this process alone: what else the machine does is not the planner's.
    started = time.process_time()
    plan(model)
    return time.process_time() - started


def test_the_architecture_shows_this_interpreter() -> None:
    core = "\n\n".join(textwrap.dedent(inspect.getsource(method)) for method in (Scope.run, Scope.call))
    assert f"```py\n{core}```" in (ROOT / "ARCHITECTURE.md").read_text()
