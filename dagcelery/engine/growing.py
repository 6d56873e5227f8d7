"""A dynamic task may return a graph: it is planned here, sealed, and goes on as a child plan in a scope of its own.

A returned value is a graph if it has a `__dag__`. This module knows nothing else of ways to write one: the plan names
the function that calls the task so that it may return a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import FunctionType
from typing import Any

from dagcelery import bounded
from dagcelery.engine.program import topology_from
from dagcelery.engine.reading import Reader
from dagcelery.engine.run_view import RunView
from dagcelery.engine.writing import Writer
from dagcelery.errors import InvalidDag
from dagcelery.payload import addresses, functions, values
from dagcelery.planner.encoding import encode_plan
from dagcelery.planner.plan import Plan, Step, codec_key
from dagcelery.planner.topology import topology
from dagcelery.store.records import Child, ChildPlan, Claim, scope_id

_KEPT_SHAPES = 256

_shapes: dict[tuple[object, ...], tuple[object, Plan]] = {}
"""Plans of graphs whose values are left open, with the DAGs that they were made of: their ids are in the keys."""


def is_graph(step: Step, returned: object) -> bool:
    """Return whether a dynamic task has returned a graph instead of a value."""
    return "dynamic" in step.options and hasattr(type(returned), "__dag__")


def child_of(view: RunView, claim: Claim, step: Step, graph: object, most: int) -> Child:
    """Plan a graph that a piece returned. Raises InvalidDag, and NotConfigured for what only signed plans may have."""
    plan = _planned(view, step, graph, most)
    scope = scope_id(view.run_id, claim.scope.id, claim.step, claim.lo)
    # The plan of a run that this process has to itself, lambdas and all, is never read again.
    text = b"" if view.is_alone else encode_plan(plan, signed=view.keyring.signed)
    sealed = values.seal_bytes(view.keyring, addresses.scope(view.run_id, scope), claim.attempt, text)
    first = view.number(len(plan.bodies))
    view.link(scope, first, plan)
    return Child(claim.lo, plan=ChildPlan(first, topology_from(topology(plan), first), sealed))


def _planned(view: RunView, step: Step, graph: object, most: int) -> Plan:
    from dagcelery.planner.compile import filled, plan  # most workers never make a plan

    dynamic = step.options["dynamic"]
    codec = view.program.codec_specs[dynamic["codec"]]
    of_shape = getattr(graph, "__shape__", None)
    shape = of_shape() if of_shape is not None else None
    planned = partial(plan, serializer=codec, queue=dynamic["queue"], max_nodes=most, describe=_described)
    if shape is None:
        whole = planned(graph.__dag__())  # type: ignore[attr-defined]
        if whole.bodies[0].params:
            problem = (
                f"was returned by a running task without a value for its parameter {whole.bodies[0].params[0].name!r}"
            )
            raise InvalidDag(f"DAG '{whole.name}'", problem, "call it with arguments, and return what the call returns")
        return whole
    dag, open_values = shape
    key = id(dag), codec_key(codec), dynamic["queue"], most
    kept = _shapes.get(key)
    if kept is None:
        kept = bounded.put(_shapes, key, (dag, planned(dag)), _KEPT_SHAPES)
    return filled(kept[1], open_values)


def _described(func: Callable[..., Any], *, by_value: tuple[str, ...]) -> functions.Description:
    """Describe how other processes find a function; a worker plans the same, unchanged functions again and again.

    Other callable objects may change, and need not be hashable.
    """
    return (_known if isinstance(func, FunctionType) else functions.describe)(func, by_value=by_value)


_known = lru_cache(maxsize=1_000)(functions.describe)


def close(view: RunView, claim: Claim) -> Mapping[str, Any]:
    """Seal what a child plan returns as outputs of the piece that made it, as if that had returned it."""
    scope = claim.scope
    parent = view.scope(scope.parent)
    step, body = view.program.step(parent.body, scope.step), view.program.body(scope.body)
    assert body.returns is not None, "a child plan says what it returns"
    reader = Reader(view, scope, claim)
    reader.read_ahead([body.returns])
    value = reader.evaluate(body.returns)
    writer = Writer(view, parent.id, claim.attempt)
    culprit = view.address(parent, scope.step, scope.index)
    if scope.index >= 0:
        return {"blocks": writer.items(scope.step, step, scope.index, [value], culprit)}
    return writer.step_outputs(scope.step, step, value, culprit).outputs
