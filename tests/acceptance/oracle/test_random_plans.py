"""The state machine carries a plan out as the interpreter of plans does, which knows neither stores nor messages."""

from __future__ import annotations

from hypothesis import given, note
from hypothesis import strategies as st

from dagcelery import DAG, FromNodeOutput, FromParam, invoke
from dagcelery.planner.compile import plan
from unit.planner import interpreter

from .comparison import as_json, search
from .programs import Program, programs
from .test_random_declarations import Node, graphs


@search(examples=30)
@given(graphs(), st.integers(0, 3), st.lists(st.integers(0, 9), max_size=4))
def test_a_declared_plan_is_carried_out(nodes: dict[str, Node], n: int, items: list[int]) -> None:
    note(repr(nodes))
    read = {f"{name}-{kind}": FromNodeOutput(name, kind) for name in nodes for kind in ("whole", "value", "list")}
    drawn = DAG({name: node.task() for name, node in nodes.items()}, {"n": FromParam(), "items": FromParam()}, read)
    params = {"n": n, "items": items}
    assert as_json(invoke(drawn, params)) == as_json(interpreter.run(plan(drawn), **params))


@search(examples=30)
@given(programs())
def test_a_traced_plan_is_carried_out(program: Program) -> None:
    note(repr(program))
    main = program.main()
    assert as_json(invoke(main, program.params)) == as_json(interpreter.run(plan(main.__dag__()), **program.params))
