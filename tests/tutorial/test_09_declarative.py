"""9. Beneath every body is a DAG of plain data, which may also be written by hand."""

from __future__ import annotations

from typing import Any

from dagcelery import (
    DAG,
    AsPickle,
    FromKey,
    FromNodeOutput,
    FromParam,
    FromProperty,
    FromReturnValue,
    Task,
    invoke,
)
from dagcelery.model import DagOptions, Each, ListOf, Literal, Splice, TaskOptions


def numbers(n: int) -> list[int]:
    return list(range(n))


def power(x: int, exponent: int) -> int:
    return int(x**exponent)


def total(xs: list[int]) -> int:
    return sum(xs)


MAP_REDUCE = DAG(
    nodes={
        "numbers": Task(numbers, {"n": FromParam()}, {"items": FromReturnValue(is_partitioned=True)}),
        "power": Task(
            power,
            inputs={"x": FromNodeOutput("numbers", "items"), "exponent": FromParam("e")},
            outputs={"powered": FromReturnValue()},
            partition_by_input="x",
        ),
        "total": Task(total, {"xs": FromNodeOutput("power", "powered")}, {"sum": FromReturnValue()}),
    },
    inputs={"n": FromParam(), "e": FromParam(default_value=2)},
    outputs={"return_value": FromNodeOutput("total", "sum")},
)


def test_a_dag_is_nodes_inputs_and_outputs() -> None:
    assert invoke(MAP_REDUCE, {"n": 4}) == 14
    assert invoke(MAP_REDUCE, {"n": 4, "e": 3}) == 36


def test_nodes_are_ordered_by_what_they_read() -> None:
    assert MAP_REDUCE.node_execution_order == [{"numbers"}, {"power"}, {"total"}]


def test_a_task_alone_can_be_invoked() -> None:
    alone = Task(power, {"x": FromParam(), "exponent": FromParam()}, {"return_value": FromReturnValue()})
    assert invoke(alone, {"x": 2, "exponent": 3}) == 8


def test_several_outputs_are_returned_by_name() -> None:
    dag = DAG(
        {"numbers": Task(numbers, {"n": FromParam()}, {"all": FromReturnValue()})},
        {"n": FromParam()},
        {"first": FromNodeOutput("numbers", "all"), "second": FromNodeOutput("numbers", "all")},
    )
    assert invoke(dag, {"n": 2}) == {"first": [0, 1], "second": [0, 1]}


def test_keys_and_properties_of_a_result_are_outputs() -> None:
    def report(n: int) -> Any:
        class Report(dict[str, int]):
            rows = n

        return Report(total=2 * n)

    outputs = {"total": FromKey("total"), "rows": FromProperty("rows")}
    dag = DAG(
        {"report": Task(report, {"n": FromParam()}, outputs)},
        {"n": FromParam()},
        {name: FromNodeOutput("report", name) for name in outputs},
    )
    assert invoke(dag, {"n": 3}) == {"total": 6, "rows": 3}


def test_a_dag_is_a_node_once_or_once_per_item_of_a_list() -> None:
    inner = {"n": FromNodeOutput("numbers", "items"), "e": Literal(2)}
    mapped = DAG(MAP_REDUCE.nodes, inner, MAP_REDUCE.outputs, partition_by_input="n")
    dag = DAG(
        {"numbers": MAP_REDUCE.nodes["numbers"], "inner": mapped},
        {"n": FromParam()},
        {"sums": FromNodeOutput("inner", "return_value")},
    )
    assert invoke(dag, {"n": 5}) == {"sums": [0, 0, 1, 5, 14]}


def test_values_are_put_together_around_outputs() -> None:
    xs = FromNodeOutput("numbers", "items")
    dag = DAG(
        {
            "numbers": MAP_REDUCE.nodes["numbers"],
            "total": Task(
                total, {"xs": ListOf((Literal(100), Splice(Each(xs), xs), FromParam("n")))}, {"sum": FromReturnValue()}
            ),
        },
        {"n": FromParam()},
        {"return_value": FromNodeOutput("total", "sum")},
    )
    assert invoke(dag, {"n": 4}) == 100 + 6 + 4


def test_after_orders_nodes_that_pass_nothing_on() -> None:
    seen: list[str] = []
    dag = DAG(
        {
            "b": Task(lambda: seen.append("b"), after=["a"]),
            "a": Task(lambda: seen.append("a")),
        }
    )
    invoke(dag)
    assert seen == ["a", "b"]


def test_options_say_how_a_node_is_run_and_a_dag_carried() -> None:
    unique = Task(set, {}, {"made": FromReturnValue()}, options=TaskOptions(taints=("gpu",)))
    dag = DAG(
        {"unique": unique},
        outputs={"return_value": FromNodeOutput("unique", "made")},
        name="distinct",
        options=DagOptions(serializer=AsPickle()),
    )
    assert invoke(dag) == set()


def test_runtime_options_are_kept_for_whoever_reads_them() -> None:
    noted = Task(numbers, {"n": FromParam()}, runtime_options={"argo": {"retries": 3}})
    assert noted.runtime_options == {"argo": {"retries": 3}}
