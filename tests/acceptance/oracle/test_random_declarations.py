"""Random DAGs written with Task, DAG and FromNodeOutput give what calling their functions in order gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given, note
from hypothesis import strategies as st

from dagcelery import DAG, FromKey, FromNodeOutput, FromParam, FromReturnValue, Task, invoke

from .comparison import as_json, search
from .programs import Draw
from .vocabulary import digest


def combine(**given: Any) -> dict[str, Any]:
    """One value, and a list of which nobody knows the length before."""
    number = digest(given)
    return {"value": number, "list": [digest(number, index) for index in range(number % 4)]}


@dataclass(frozen=True)
class Node:
    """A task: what each input reads, as (node or "", output or parameter), and the input it runs once per item of."""

    inputs: dict[str, tuple[str, str]]
    each: str | None

    def task(self) -> Task:
        outputs = {
            "whole": FromReturnValue(),
            "value": FromKey("value"),
            "list": FromKey("list", is_partitioned=self.each is None),
        }
        sources = {
            name: FromNodeOutput(node, output) if node else FromParam(output)
            for name, (node, output) in self.inputs.items()
        }
        return Task(combine, sources, outputs, partition_by_input=self.each)


def evaluated(nodes: dict[str, Node], params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Call every function in order, once per item where it says so."""
    known: dict[str, dict[str, Any]] = {"": params}
    for name, node in nodes.items():
        given = {key: known[source][output] for key, (source, output) in node.inputs.items()}
        if node.each is None:
            made = combine(**given)
            known[name] = {"whole": made, **made}
        else:
            items = [combine(**{**given, node.each: item}) for item in given[node.each]]
            known[name] = {
                "whole": items,
                "value": [item["value"] for item in items],
                "list": [item["list"] for item in items],
            }
    return known


@st.composite
def graphs(draw: Draw) -> dict[str, Node]:
    """Up to six nodes, each of which reads earlier ones and parameters; some run once per item of a list."""
    nodes: dict[str, Node] = {}
    lists = [("", "items")]
    values = [("", "n"), ("", "items")]
    for number in range(draw(st.integers(1, 6))):
        inputs = {f"x{at}": draw(st.sampled_from(values)) for at in range(draw(st.integers(0, 3)))}
        each = "each" if draw(st.booleans()) else None
        if each:
            inputs[each] = draw(st.sampled_from(lists))
        name = f"node-{number}"
        nodes[name] = Node(inputs, each)
        values += [(name, "whole"), (name, "value"), (name, "list")]
        # What a fan-out made is a list by item; of its own lists there is one for each item.
        lists += [(name, "value"), (name, "whole")] if each else [(name, "list")]
    return nodes


@search(examples=50)
@given(graphs(), st.integers(0, 3), st.lists(st.integers(0, 9), max_size=4))
def test_a_declared_dag_gives_what_its_functions_give(nodes: dict[str, Node], n: int, items: list[int]) -> None:
    outputs = {f"{name}-{kind}": (name, kind) for name in nodes for kind in ("whole", "value", "list")}
    dag = DAG(
        {name: node.task() for name, node in nodes.items()},
        {"n": FromParam(), "items": FromParam()},
        {name: FromNodeOutput(*read) for name, read in outputs.items()},
    )
    note(repr(nodes))
    params = {"n": n, "items": items}
    known = evaluated(nodes, params)
    expected = {name: known[node][kind] for name, (node, kind) in outputs.items()}
    assert as_json(invoke(dag, params)) == as_json(expected)
