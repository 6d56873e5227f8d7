"""What a nested DAG that has a body of its own gives back, put together from its outputs, for those who ask for it.

Its outputs are what is read of it. Which value they are parts of is told by its body's `returns`, where an ``each``
names an output (``$=key_a``) or an argument (``$x``) of the step that enters the body, or a parameter of a body around
it (``^$x``). No piece reads these.
"""

from __future__ import annotations

from typing import Final

from dagcelery.model.sources import DictOf, FromParam, ListOf, Literal, SetOf, Source, Splice, TupleOf
from dagcelery.planner.ir import BodyParameter, PlanFrame
from dagcelery.planner.plan import Expr, is_constant, literal, raised

OUTPUT: Final = "$="
"""In front of the name of an output; no parameter is called so."""

_TAGS: Final = {ListOf: "list", TupleOf: "tuple", SetOf: "set"}


def shape_of(frame: PlanFrame) -> Expr | None:
    """Return the shape of what the DAG of a frame gives back; None if that is "return_value", or nothing."""
    dag = frame.dag
    if dag.returns is None and dag.outputs.keys() - {"return_value"}:
        return ("dict", tuple([(literal(name), ("each", OUTPUT + name)) for name in dag.outputs]))
    if dag.returns is None or dag.returns == dag.outputs.get("return_value"):
        return None
    return _shape(dag.returns, frame, "return_value")


def _bound(expr: Expr, frame: PlanFrame) -> Expr:
    """Return what a parameter of the DAG is bound to."""
    if expr[0] != "ref" or not isinstance(expr[1], BodyParameter):
        return expr if is_constant(expr) else ("each", OUTPUT)  # of no step that is known to keep it
    levels, body = 0, frame.body
    while body is not expr[1].body and body.opener is not None:
        levels, body = levels + 1, body.opener.body
    return ("each", raised(f"${expr[1].name}", levels))


def _shape(source: Source, frame: PlanFrame, path: str) -> Expr:
    """Return the shape of `source`; `path` names it where no output gives it."""
    if isinstance(source, Literal):
        return literal(source.value)
    for name, output in frame.dag.outputs.items():
        if output is source or output == source:
            return ("each", OUTPUT + name)
    if isinstance(source, FromParam) and source.name and source.name in frame.dag.inputs:
        return _bound(frame.bindings[source.name], frame)
    if isinstance(source, DictOf):
        pairs = [(literal(key), _shape(item, frame, f"{path}[{key!r}]")) for key, item in source.pairs]
        return ("dict", tuple(pairs))
    if isinstance(source, ListOf | TupleOf | SetOf):
        items = [item for item in source.items if not isinstance(item, Splice)]
        if len(items) == len(source.items):
            parts = [_shape(item, frame, f"{path}[{at}]") for at, item in enumerate(items)]
            return (_TAGS[type(source)], tuple(parts))
    return ("each", OUTPUT + path)
