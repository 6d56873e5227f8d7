"""Write a DAG as data instead of a function: nodes, inputs, outputs.

Notice that it equals the value that `@dag` makes from a body. Programs that generate DAGs write this form. A DAG is
checked when it is made: a misspelt node or a cycle never reaches a worker.
"""

from __future__ import annotations

from dagcelery import DAG, FromNodeOutput, FromParam, FromReturnValue, Task, invoke


def numbers(n: int) -> list[int]:
    """Return a list; no decorator is needed here."""
    return list(range(n))


def power(x: int, exponent: int) -> int:
    """Raise a number; executed once for each item."""
    return int(x**exponent)


def total(xs: list[int]) -> int:
    """Add up all results."""
    return sum(xs)


map_reduce = DAG(
    nodes={
        "numbers": Task(
            numbers,
            inputs={"n": FromParam()},
            outputs={"all": FromReturnValue(is_partitioned=True)},
        ),
        "power": Task(
            power,
            inputs={"x": FromNodeOutput("numbers", "all"), "exponent": FromParam()},
            outputs={"result": FromReturnValue()},
            partition_by_input="x",
        ),
        "total": Task(
            total,
            inputs={"xs": FromNodeOutput("power", "result")},
            outputs={"sum": FromReturnValue()},
        ),
    },
    inputs={"n": FromParam(), "exponent": FromParam(default_value=2)},
    outputs={"sum": FromNodeOutput("total", "sum")},
    name="map-reduce",
)

if __name__ == "__main__":
    print(invoke(map_reduce, {"n": 10}))
    print("may run at once:", map_reduce.node_execution_order)
