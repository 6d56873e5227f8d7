"""A task or a DAG is a value: equal by its parts, unchangeable, and it knows its order."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from dagcelery.model import (
    DAG,
    Each,
    FromNodeOutput,
    FromParam,
    FromReturnValue,
    ListOf,
    Literal,
    Splice,
    Task,
    TaskOptions,
    dependencies,
    fan_source,
)

if TYPE_CHECKING:
    from decimal import Decimal


def one(x: Any = None) -> Any:
    return x


def made(*needs: str, **more: Any) -> Task:
    read = ListOf(tuple(FromNodeOutput(name, "out") for name in needs))
    return Task(one, {"x": read}, {"out": FromReturnValue()}, **more)


def split() -> Task:
    return Task(one, {}, {"out": FromReturnValue(is_partitioned=True)})


OUT = FromNodeOutput("xs", "out")


def test_equal_parts_make_equal_dags() -> None:
    assert DAG({"a": made()}) == DAG({"a": made()})
    assert hash(DAG({"a": made()})) == hash(DAG({"a": made()}))


@pytest.mark.parametrize(
    "change",
    [
        {"func": print},
        {"inputs": {"x": Literal(1)}},
        {"outputs": {"out": FromReturnValue()}},
        {"runtime_options": {"a": 1}},
        {"partition_by_input": "x", "inputs": {"x": FromParam()}},
        {"options": TaskOptions(queue="big")},
        {"after": ("b",)},
        {"over": FromParam("xs")},
    ],
)
def test_every_part_of_a_task_counts(change: dict[str, Any]) -> None:
    given: dict[str, Any] = {"func": one, **change}
    assert Task(**given) != Task(one)


def test_the_order_is_in_groups_that_may_run_at_once() -> None:
    dag = DAG({"d": made("b", "c"), "b": made("a"), "c": made("a"), "a": made()})
    assert dag.node_execution_order == [{"a"}, {"b", "c"}, {"d"}]


def test_a_chain_of_thousands_of_nodes_is_checked_without_recursion() -> None:
    nodes = {f"n{i}": made(*[f"n{i - 1}"] if i else []) for i in range(3000)}
    assert len(DAG(nodes).node_execution_order) == 3000


def test_a_node_depends_on_all_that_it_reads_and_comes_after() -> None:
    inputs = {"x": ListOf((FromNodeOutput("a", "o"), Splice(Each(OUT), OUT), FromParam("p")))}
    task = Task(one, inputs, after=["b"], over=FromNodeOutput("c", "o"))
    assert dependencies(task) == {"a", "xs", "b", "c"}


@pytest.mark.parametrize(
    ("task", "source"),
    [
        (Task(one, {"x": OUT}), None),
        (Task(one, {"x": Each(OUT)}), OUT),
        (Task(one, {"x": ListOf((Each(OUT),))}), OUT),
        (Task(one, {"x": ListOf((Splice(Each(OUT), OUT),))}), None),
        (Task(one, {"x": OUT}, partition_by_input="x"), OUT),
        (Task(one, {"x": FromParam()}, partition_by_input="x"), FromParam("x")),
        (Task(one, over=OUT), OUT),
    ],
)
def test_a_fan_out_knows_the_list_it_runs_over(task: Task, source: object) -> None:
    assert fan_source(task) == source


@pytest.mark.parametrize(
    "write",
    [
        lambda dag: dag.nodes.__setitem__("b", made()),
        lambda dag: dag.nodes["a"].inputs.__setitem__("x", Literal(1)),
        lambda dag: dag.nodes["a"].outputs.__delitem__("out"),
    ],
)
def test_mappings_of_a_dag_cannot_be_written(write: Callable[[DAG], None]) -> None:
    with pytest.raises(TypeError, match="checked once; build a new one"):
        write(DAG({"a": made()}))


def test_attributes_cannot_be_set() -> None:
    with pytest.raises(AttributeError, match=r"DAG.name cannot be changed.*build a new DAG"):
        DAG({"a": made()}).name = "b"


def test_a_dag_can_be_pickled() -> None:
    dag = DAG({"a": made()}, {"p": FromParam()}, {"o": FromNodeOutput("a", "out")})
    assert pickle.loads(pickle.dumps(dag)) == dag


def test_the_repr_leaves_out_what_says_nothing() -> None:
    assert repr(Task(dict, {"x": Literal(1)})).startswith("Task(func=<class 'dict'>, inputs={'x': ")
    assert "after" not in repr(Task(one))


def test_parameters_that_are_only_iterated_are_lazy_in_every_spelling() -> None:
    def reduce(
        a: Iterable[int],
        b: Iterator[int],
        c: Annotated[Collection[int], "said"],
        d: Sequence[int],
        e: list[int],
        f: Any,
        g: Decimal,
    ) -> int:
        return 0

    task = Task(reduce, {name: Literal(1) for name in "abcdefg"})
    assert task.options.lazy == set("abcd")


def test_only_parameters_that_have_an_input_are_lazy() -> None:
    def reduce(a: Iterable[int] = (), b: Iterable[int] = (), **rest: Iterable[int]) -> int:
        return 0

    assert Task(reduce, {"a": Literal(1), "z": Literal(1)}).options.lazy == {"a", "z"}


def test_split_is_what_a_fan_out_reads() -> None:
    dag = DAG({"xs": split(), "ys": Task(one, {"x": Each(OUT)})})
    assert dag.nodes["xs"].outputs == {"out": FromReturnValue(is_partitioned=True)}
