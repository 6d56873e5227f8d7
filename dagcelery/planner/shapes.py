"""Plans of one shape differ in their literals only: one is made with open places, and filled in for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dagcelery.model import Open
from dagcelery.planner.expressions import SEQUENCES
from dagcelery.planner.literals import literal
from dagcelery.planner.plan import Body, Expr, Plan, Step
from dagcelery.planner.topology import topology


def filled(plan: Plan, values: Sequence[object]) -> Plan:
    """Return `plan` with `values` in its open places; the topology stays the same."""
    made = replace(plan, bodies=tuple([_body(body, values) for body in plan.bodies]))
    made.memo["topology"] = topology(plan)
    return made


def _body(body: Body, values: Sequence[object]) -> Body:
    returns = None if body.returns is None else _expr(body.returns, values)
    return replace(body, steps=tuple([_step(step, values) for step in body.steps]), returns=returns)


def _step(step: Step, values: Sequence[object]) -> Step:
    return replace(step, arguments=tuple([(name, _expr(expr, values)) for name, expr in step.arguments]))


def _expr(expr: Expr, values: Sequence[object]) -> Expr:
    tag = expr[0]
    if tag == "live":
        return literal(values[expr[1].number]) if type(expr[1]) is Open else expr
    if tag in SEQUENCES:
        return (tag, tuple([_expr(item, values) for item in expr[1]]))
    if tag == "dict":
        return (tag, tuple([(key, _expr(value, values)) for key, value in expr[1]]))
    return expr
