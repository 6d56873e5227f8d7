"""What went wrong elsewhere, a test each, named after what went wrong."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from dagcelery import AsJSON, RunState, build, dag, invoke, task
from dagcelery.errors import CyclicDependency, InvalidDag, NodeFailed
from dagcelery.model import DAG, FromNodeOutput, FromReturnValue, Task
from dagcelery.payload.fingerprints import code_hash

from .vocabulary import add, count, double, echo, numbers, total, triple

# --- lists ---


def test_two_maps_over_one_fan_out() -> None:
    @dag
    def body() -> list[int]:
        xs = numbers(4)
        return [total([double(x) for x in xs]), total([triple(x) for x in xs])]

    assert invoke(body) == [12, 18]


def test_two_reducers_of_one_map() -> None:
    @dag
    def body() -> list[int]:
        doubled = [double(x) for x in numbers(4)]
        return [total(doubled), total(doubled)]

    assert invoke(body) == [12, 12]


def test_an_output_both_mapped_and_passed_whole() -> None:
    @dag
    def body() -> list[Any]:
        xs = numbers(4)
        return [total(xs), [double(x) for x in xs], [add(x, total(xs)) for x in xs]]

    assert invoke(body) == [6, [0, 2, 4, 6], [6, 7, 8, 9]]


def test_outputs_and_parameters_within_dicts_and_lists_taken_for_literals() -> None:
    @dag
    def body(n: int) -> Any:
        return echo({"output": double(n), "list": [n, {"deep": [double(n)]}], "tuple": (n,)})

    assert invoke(body, {"n": 2}) == {"output": 4, "list": [2, {"deep": [4]}], "tuple": [2]}


def test_nested_access_to_a_result() -> None:
    @task
    def nested() -> dict[str, Any]:
        return {"a": {"b": [10, 20]}}

    @dag
    def body() -> list[Any]:
        out = nested()
        return [out["a"]["b"], out["a"]["b"][1], out["a"]]

    assert invoke(body) == [[10, 20], 20, {"b": [10, 20]}]


def test_an_index_of_a_list() -> None:
    @dag
    def body() -> list[int]:
        xs = numbers(4)
        return [xs[0], xs[-1]]

    assert invoke(body) == [0, 3]


@pytest.mark.parametrize(
    "use",
    [
        lambda out: echo(1) if out else echo(2),
        lambda out: echo(out == 4),
        lambda out: [add(i, x) for i, x in enumerate(out)],
        lambda out: echo(len([double(x) for x in out])),
        lambda out: total([double(x) for x in out][:2]),
        lambda out: total([double(x) for x in out][::-1]),
    ],
    ids=["if out", "out == 4", "enumerate(out)", "len", "slice", "reversal"],
)
def test_an_operation_on_an_output_that_is_silently_wrong(use: Any) -> None:
    @dag
    def body() -> Any:
        return use(numbers(4))

    with pytest.raises(InvalidDag):
        build(body)


def test_a_choice_by_whether_a_list_is_empty() -> None:
    @dag
    def body(n: int) -> int:
        doubled = [double(x) for x in numbers(n)]
        return total(doubled) if doubled else echo(-1)

    with pytest.raises(InvalidDag, match="no element"):
        build(body)


def test_duplicates_dropped_before_anybody_knows_them() -> None:
    @dag
    def body() -> int:
        return total(list(dict.fromkeys(numbers(4))))

    with pytest.raises(InvalidDag, match="cannot be compared"):
        build(body)


# --- definitions ---


def test_a_task_called_outside_of_a_dag_pollutes_the_next_build() -> None:
    @dag
    def body() -> int:
        return double(3)

    double(1)
    add(1, 2)
    assert list(build(body).nodes) == ["double"]


def test_a_body_that_fails_pollutes_the_next_build() -> None:
    @dag
    def fails() -> int:
        double(3)
        raise KeyError("no")

    @dag
    def body() -> int:
        return double(3)

    with pytest.raises(KeyError):
        build(fails)
    assert double(3) == 6
    assert list(build(body).nodes) == ["double"]


def test_async_tasks() -> None:
    @task
    async def fetched(x: int) -> int:
        return x + 1

    @dag
    def body(n: int) -> list[int]:
        return [fetched(x) for x in numbers(n)]

    assert invoke(body, {"n": 3}) == [1, 2, 3]


def test_recursion_of_a_task() -> None:
    @task
    def factorial(n: int) -> int:
        return n * factorial(n - 1) if n else 1

    assert invoke(factorial, {"n": 10}) == 3_628_800


def test_recursion_of_a_dag_that_has_no_end() -> None:
    @dag
    def endless(n: int) -> int:
        return endless(double(n))

    with pytest.raises(InvalidDag, match="calls itself"):
        build(endless)


def test_recursion_of_a_dag_that_a_static_parameter_ends() -> None:
    @dag(static=("depth",))
    def doubled(x: int, depth: int) -> int:
        return doubled(double(x), depth=depth - 1) if depth else double(x)

    assert doubled.invoke(1, depth=3) == 16


def test_a_bare_decorator_that_raises() -> None:
    @task
    def bare(x: int) -> int:
        return x

    @task()
    def called(x: int) -> int:
        return x

    assert invoke(bare, {"x": 1}) == invoke(called, {"x": 1}) == 1


def test_one_graph_shared_by_all_dags() -> None:
    @dag
    def first() -> int:
        return double(1)

    @dag
    def second() -> int:
        return triple(1)

    assert list(build(first).nodes) == ["double"]
    assert list(build(second).nodes) == ["triple"]


def test_a_function_used_twice_that_collapses_into_one_node() -> None:
    @dag
    def body() -> list[int]:
        return [double(1), double(2), double(1)]

    assert list(build(body).nodes) == ["double", "double-2", "double-3"]
    assert invoke(body) == [2, 4, 2]


def test_an_order_after_a_node_that_was_never_added() -> None:
    with pytest.raises(InvalidDag, match=r"after='bb' of node 'a'.*did you mean 'b'"):
        DAG({"a": Task(print, after=["bb"]), "b": Task(print)})
    with pytest.raises(InvalidDag, match="is not the output of a node"):
        build(dag(lambda: double.after(3)(1)))


def test_a_string_where_a_list_is_due() -> None:
    options = task(taint="gpu", by_value="helpers")(lambda x: x)._options
    assert options.taints == ("gpu",)
    assert options.by_value == ("helpers",)
    assert dag(static="folds")(lambda folds: None).static == ("folds",)


def test_nodes_that_wait_for_a_whole_group() -> None:
    order: list[str] = []

    @task
    def step(name: str, *, before: Any = None) -> str:
        order.append(name)
        return name

    @dag
    def body() -> list[str]:
        # b2 waits for b1 only; in groups it would wait for all of a1, a2 and a3 too.
        a3 = step("a3", before=step("a2", before=step("a1")))
        return [step("b2", before=step("b1")), a3]

    invoke(body)
    layers = build(body).node_execution_order
    assert len(layers) == 3
    assert set(order) == {"a1", "a2", "a3", "b1", "b2"}
    assert order.index("b1") < order.index("b2")


# --- values ---


@pytest.mark.parametrize("value", [0, False, "", None, [], {}, 0.0])
def test_falsy_results_that_become_none(value: object) -> None:
    @task
    def falsy() -> Any:
        return value

    @dag
    def body() -> list[Any]:
        return [falsy(), echo(falsy()), [echo(x) for x in [falsy(), falsy()]]]

    found = invoke(body)
    assert found == [value, value, [value, value]]
    assert type(found[0]) is type(value)


def test_a_readme_whose_example_fails_its_own_assertion() -> None:
    @task
    def modulo(x: int) -> int:
        return x % 2

    @task
    def counted(xs: list[int]) -> list[list[int]]:
        return [list(pair) for pair in sorted(Counter(xs).items())]

    @dag
    def body() -> Any:
        return counted([modulo(x) for x in numbers(4)])

    assert invoke(body) == [[0, 2], [1, 2]]


def test_a_node_that_consumes_a_node_which_returns_another() -> None:
    @dag
    def inner(x: int) -> int:
        return double(x)

    @dag
    def outer(x: int) -> int:
        return add(inner(x), 1)

    assert invoke(outer, {"x": 2}) == 5


def test_a_serializer_that_closes_its_writer() -> None:
    writer = io.BytesIO()
    AsJSON().serialize([1], writer)
    assert not writer.closed
    assert writer.getvalue() == b"[1]"


def test_a_code_hash_that_depends_on_the_path_of_the_file(tmp_path: Path) -> None:
    source = "def f(x):\n    return x + 1\n"
    hashes = set()
    for path in (tmp_path / "a.py", tmp_path / "elsewhere" / "b.py"):
        names: dict[str, Any] = {}
        exec(compile(source, str(path), "exec"), names)
        hashes.add(code_hash(names["f"]))
    assert len(hashes) == 1


# --- errors and states ---


def test_exceptions_with_a_constructor_of_their_own_that_are_destroyed() -> None:
    class HTTPFailedError(Exception):
        def __init__(self, status: int, *, url: str) -> None:
            super().__init__(f"{url} answered {status}")
            self.status = status

    @task
    def fetch() -> None:
        raise HTTPFailedError(503, url="http://example.org")

    with pytest.raises(NodeFailed, match=r"HTTPFailedError: http://example.org answered 503") as failed:
        invoke(fetch)
    assert isinstance(failed.value.__cause__, HTTPFailedError)
    assert failed.value.__cause__.status == 503


def test_pending_failed_and_none_that_look_alike(eager: Celery) -> None:
    @task
    def fails() -> None:
        raise ValueError

    @task
    def nothing() -> None:
        return None

    assert nothing.submit().state is RunState.DONE
    assert nothing.submit().result() is None
    assert fails.submit().state is RunState.FAILED
    with pytest.raises(NodeFailed):
        fails.submit().result()


def test_a_list_of_done_nodes_that_has_failed_ones(eager: Celery) -> None:
    @task
    def fails(x: int) -> int:
        raise ValueError(x)

    @dag
    def body() -> int:
        return fails(double(1))

    states = {node.name: node.state for node in body.submit().status().nodes}
    assert states == {"double": "done", "fails": "failed"}


def test_a_cycle() -> None:
    def read(node: str) -> FromNodeOutput:
        return FromNodeOutput(node, "out")

    def same(x: int) -> int:
        return x

    out = {"out": FromReturnValue()}
    with pytest.raises(CyclicDependency, match="a -> b -> a"):
        DAG({"a": Task(same, {"x": read("b")}, out), "b": Task(same, {"x": read("a")}, out)})


def test_unknown_options_that_are_taken_silently() -> None:
    with pytest.raises(TypeError, match="tain"):
        task(tain="gpu")  # type: ignore[call-overload]


def test_garbage_of_one_run_in_the_next() -> None:
    @dag
    def body(n: int) -> int:
        return count([double(x) for x in numbers(n)])

    assert [invoke(body, {"n": n}) for n in (5, 0, 3)] == [5, 0, 3]
