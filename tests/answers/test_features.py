"""What users of older libraries look for, a test each: the feature, and how it is spelled here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import cloudpickle
import pytest
from celery import Celery
from click.testing import CliRunner

from dagcelery import (
    DAG,
    AsJSON,
    AsPickle,
    DagFunction,
    FromKey,
    FromNodeOutput,
    FromParam,
    FromProperty,
    FromReturnValue,
    Run,
    RunState,
    Serialize,
    Task,
    TaskFunction,
    build,
    dag,
    invoke,
    task,
)
from dagcelery.cli import dag as program
from dagcelery.errors import InvalidDag, InvalidParameters, NodeFailed
from dagcelery.local import Cluster
from dagcelery.planner.routing import queue_for, tolerated

from . import vocabulary
from .vocabulary import add, count, double, echo, numbers, total


@dag
def map_reduce(n: int) -> int:
    return total([double(x) for x in numbers(n)])


# --- definition ---


def test_a_task_from_a_plain_function() -> None:
    made = Task(_identity, {"x": FromParam()}, {"return_value": FromReturnValue()})
    assert invoke(made, {"x": 3}) == 3


def _identity(x: Any) -> Any:
    return x


def test_a_dag_as_immutable_data() -> None:
    made = build(map_reduce)
    with pytest.raises(TypeError, match="build a new one"):
        made.nodes["numbers"] = None  # type: ignore[index]
    with pytest.raises(AttributeError, match="build a new DAG"):
        made.name = "other"


def test_decorators_in_the_called_form() -> None:
    assert isinstance(task()(_identity), TaskFunction)
    assert isinstance(dag()(_identity), DagFunction)


def test_decorators_in_the_bare_form() -> None:
    assert isinstance(task(_identity), TaskFunction)
    assert isinstance(dag(_identity), DagFunction)


def test_a_build_step() -> None:
    assert isinstance(build(map_reduce), DAG)


# --- inputs, outputs, parameters ---


def test_an_input_that_is_called_otherwise_than_its_parameter() -> None:
    node = Task(_identity, {"x": FromParam("what")}, {"out": FromReturnValue()})
    made = DAG({"a": node}, {"what": FromParam()}, {"return_value": FromNodeOutput("a", "out")})
    assert invoke(made, {"what": 1}) == 1


def test_an_input_from_another_node() -> None:
    assert invoke(dag(lambda x: double(double(x))), {"x": 1}) == 4


def test_defaults_of_tasks_dags_and_nested_dags() -> None:
    @task
    def scaled(x: int, factor: int = 10) -> int:
        return x * factor

    @dag
    def inner(x: int, more: int = 1) -> int:
        return add(scaled(x), more)

    @dag
    def outer(x: int = 2) -> list[int]:
        return [inner(x), inner(x, more=5)]

    assert invoke(outer) == [21, 25]


def test_hardcoded_literals() -> None:
    assert invoke(dag(lambda: add(1, b=2))) == 3


@pytest.mark.parametrize("value", [0, False, None, "", []])
def test_defaults_that_are_overridden_with_falsy_values(value: object) -> None:
    @dag
    def body(x: Any = 7) -> Any:
        return echo(x)

    assert invoke(body, {"x": value}) == value
    assert invoke(body) == 7


def test_the_whole_returned_value() -> None:
    assert invoke(dag(lambda: numbers(3))) == [0, 1, 2]


def test_a_key_or_a_property_of_it() -> None:
    @task
    def made() -> Any:
        return {"a": 1, "b": complex(2, 3)}

    @dag
    def body() -> list[Any]:
        out = made()
        return [out["a"], out["b"].imag]

    assert invoke(body) == [1, 3.0]


def test_several_outputs_by_position() -> None:
    @task
    def both() -> tuple[int, int]:
        return 1, 2

    @dag
    def body() -> int:
        x1, x2 = both()
        return add(x1, double(x2))

    assert invoke(body) == 5


def test_no_output_at_all() -> None:
    @task
    def quiet() -> None: ...

    assert invoke(quiet) is None
    assert invoke(DAG({"quiet": Task(quiet.fn)})) is None


def test_several_outputs_of_a_dag() -> None:
    assert invoke(dag(lambda x: {"a": double(x), "b": [x]}), {"x": 1}) == {"a": 2, "b": [1]}


def test_kwargs_and_keyword_only_parameters() -> None:
    @task
    def described(*, first: int, **rest: int) -> list[Any]:
        return [first, sorted(rest.items())]

    assert invoke(dag(lambda x: described(first=x, a=1, b=double(x))), {"x": 1}) == [1, [["a", 1], ["b", 2]]]


@pytest.mark.parametrize(
    "wrapped",
    [lambda d: [d, 1], lambda d: (d, [d]), lambda d: {"k": d, "l": {"m": (d,)}}, lambda d: [{"s": [d]}]],
    ids=["list", "tuple", "dict", "nested"],
)
def test_outputs_within_containers(wrapped: Any) -> None:
    body = dag(lambda x: echo(wrapped(double(x))))
    assert invoke(body, {"x": 1}) == json.loads(json.dumps(wrapped(2)))


def test_outputs_within_sets() -> None:
    assert invoke(dag(lambda x: count({double(x), x, 1})), {"x": 2}) == 3


def test_superfluous_parameters_are_an_error_that_names_the_nearest_one() -> None:
    with pytest.raises(InvalidParameters, match=r"'nn'.*did you mean 'n'"):
        invoke(map_reduce, {"n": 1, "nn": 2})


# --- the shape of graphs ---


def test_nested_dags_of_any_depth() -> None:
    inner: Any = double
    for _ in range(10):
        inner = _around(inner)
    assert invoke(inner, {"x": 1}) == 2**11


def _around(inner: Any) -> Any:
    @dag
    def around(x: int) -> int:
        return double(inner(x))

    return around


def test_a_fan_out_over_a_list_that_is_known_when_it_runs() -> None:
    assert [invoke(map_reduce, {"n": n}) for n in (1, 5, 300)] == [0, 20, 89700]


def test_a_map_of_a_task() -> None:
    assert invoke(dag(lambda n: [double(x) for x in numbers(n)]), {"n": 3}) == [0, 2, 4]


def test_a_map_of_a_nested_dag() -> None:
    assert invoke(dag(lambda n: [map_reduce(x) for x in numbers(n)]), {"n": 4}) == [0, 0, 2, 6]


def test_a_fan_in_to_an_ordered_list() -> None:
    assert invoke(dag(lambda: echo([double(x) for x in echo([3, 1, 2])]))) == [6, 2, 4]


def test_a_fan_in_of_a_key() -> None:
    @task
    def pair(x: int) -> dict[str, int]:
        return {"a": x, "b": -x}

    assert invoke(dag(lambda n: total([pair(x)["b"] for x in numbers(n)])), {"n": 4}) == -6


def test_a_map_reduce_within_a_map_reduce() -> None:
    body = dag(lambda n: total([total([double(y) for y in numbers(x)]) for x in numbers(n)]))
    assert invoke(body, {"n": 4}) == 0 + 0 + 2 + 6


def test_a_fan_out_over_nothing() -> None:
    assert invoke(dag(lambda: count([double(x) for x in numbers(0)]))) == 0


def test_a_fan_out_with_two_consumers() -> None:
    body = dag(lambda n: (lambda xs: [[double(x) for x in xs], [add(x, 1) for x in xs]])(numbers(n)))
    assert invoke(body, {"n": 3}) == [[0, 2, 4], [1, 2, 3]]


def test_mapped_results_with_two_reducers() -> None:
    body = dag(lambda n: (lambda ys: [total(ys), count(ys)])([double(x) for x in numbers(n)]))
    assert invoke(body, {"n": 3}) == [6, 3]


def test_a_dag_that_returns_mapped_results() -> None:
    assert build(dag(lambda n: [double(x) for x in numbers(n)])).returns == FromNodeOutput("double", "return_value")


class Countdown:
    """An iterable of somebody's own."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, 0, -1))


def test_generators_and_iterables_of_ones_own_are_mapped() -> None:
    @task
    def yielded(n: int) -> Iterator[int]:
        yield from range(n)

    @task
    def counted(n: int) -> Iterable[int]:
        return Countdown(n)

    @dag
    def body(n: int) -> list[Any]:
        return [[double(x) for x in yielded(n)], [double(x) for x in counted(n)]]

    assert invoke(body, {"n": 3}) == [[0, 2, 4], [6, 4, 2]]


# --- serialization ---


def test_json_with_indentation_and_a_policy_for_nan() -> None:
    @task(serializer=AsJSON(indent=2, allow_nan=True))
    def nan() -> float:
        return float("inf")

    assert invoke(nan) == float("inf")


def test_pickle() -> None:
    assert invoke(dag(serializer=AsPickle())(lambda x: echo(x)), {"x": {1, 2}}) == {1, 2}


def test_functions_and_classes_of_a_script_are_pickled_by_value() -> None:
    class Local:
        value = 3

    @dag(serializer=AsPickle())
    def body() -> Any:
        return echo(Local())

    assert invoke(body).value == 3
    assert cloudpickle.loads(cloudpickle.dumps(map_reduce.fn)) is not None


class AsText:
    """Text in capital letters."""

    extension = "txt"

    def serialize(self, value: str, writer: BinaryIO) -> None:
        writer.write(value.upper().encode())

    def deserialize(self, reader: BinaryIO) -> str:
        return reader.read().decode()


def test_a_serializer_of_ones_own() -> None:
    assert invoke(task(serializer=AsText())(_text)) == "LOUD"


def _text() -> str:
    return "loud"


def test_a_serializer_for_each_part_of_a_result() -> None:
    @task(serializer=Serialize(loud=AsText()))
    def both() -> dict[str, str]:
        return {"loud": "a", "quiet": "b"}

    @dag
    def body() -> list[str]:
        out = both()
        return [out["loud"], out["quiet"]]

    assert invoke(body) == ["A", "b"]


def test_serializers_that_do_not_match() -> None:
    source = FromNodeOutput("a", "out", serializer=AsPickle())
    out = {"out": FromReturnValue(AsJSON())}
    with pytest.raises(InvalidDag, match=r"AsPickle.*AsJSON"):
        DAG({"a": Task(_text, {}, out), "b": Task(_identity, {"x": source})})


@pytest.mark.parametrize("value", [0, False, "", None, [], {}])
def test_falsy_results_survive(value: object) -> None:
    assert invoke(dag(lambda: echo(echo(value)))) == value


# --- execution ---


def test_a_run_in_this_process() -> None:
    assert invoke(map_reduce, {"n": 3}) == 6


def test_a_run_of_a_single_task() -> None:
    assert invoke(double, {"x": 3}) == 6


def test_a_result_comes_back_as_a_value() -> None:
    assert invoke(DAG({"a": Task(_text, {}, {"o": FromReturnValue()})}, {}, {"x": FromNodeOutput("a", "o")})) == {
        "x": "loud"
    }


def test_a_run_on_several_processes_of_this_machine(cluster: Cluster) -> None:
    assert map_reduce.submit(n=20).result(timeout=30) == 380


def test_a_run_of_one_node_after_the_other() -> None:
    order: list[int] = []

    @task
    def noted(x: int) -> None:
        order.append(x)

    invoke(dag(lambda n: [noted(x) for x in numbers(n)]), {"n": 5})
    assert order == [0, 1, 2, 3, 4]


def test_a_run_from_the_command_line() -> None:
    result = CliRunner().invoke(program, ["invoke", f"{__name__}:map_reduce", "-p", "n=4"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == 12


def test_distributed_workers(cluster: Cluster) -> None:
    assert double.submit(x=21).result(timeout=30) == 42


def test_workers_inside_tests(cluster: Cluster) -> None:
    run = dag(lambda n: [add(x, x) for x in numbers(n)]).submit(n=3)
    assert run.result(timeout=30) == [0, 2, 4]
    assert run.state is RunState.DONE


def test_an_eager_run(eager: Celery) -> None:
    run = map_reduce.submit(n=3)
    assert isinstance(run, Run)
    assert run.result() == 6


def test_helpers_that_are_not_decorated_run_inline() -> None:
    def shifted(x: Any) -> Any:
        return add(x, 1)

    assert invoke(dag(lambda x: shifted(shifted(x))), {"x": 1}) == 3


# --- routing ---


def where(definition: Any, **params: Any) -> dict[str, str]:
    """The queue of each node."""
    return {node.name: node.queue for node in definition.submit(**params).status().nodes}


def test_a_queue_by_name(eager: Celery) -> None:
    assert where(task(queue="slow")(_text)) == {"_text": "slow"}


def test_a_default_queue(eager: Celery) -> None:
    assert where(double, x=1) == {"double": "celery"}
    assert queue_for((), default="team") == "team"


def test_a_taint(eager: Celery) -> None:
    assert where(task(taint=("b", "a"))(_text)) == {"_text": "a+b"}


def test_tolerations_of_a_worker() -> None:
    assert tolerated(["gpu"], ["celery", "gpu", "tpu", "gpu+tpu"]) == ["celery", "gpu"]


def test_queues_that_a_worker_includes_and_excludes() -> None:
    result = CliRunner().invoke(program, ["worker", "--help"])
    assert "--include-queue" in result.output
    assert "--exclude-queue" in result.output


def test_runtime_options_of_a_node() -> None:
    assert Task(_text, runtime_options={"pod": {"cpu": 2}}).runtime_options["pod"] == {"cpu": 2}


# --- correctness ---


def test_decorated_code_keeps_its_types() -> None:
    hints = vars(vocabulary)["add"].fn.__annotations__
    assert hints == {"a": "int", "b": "int", "return": "int"}


def test_errors_that_say_what_to_do() -> None:
    with pytest.raises(InvalidDag) as refused:
        build(dag(lambda n: total(f"{n}")))
    assert (refused.value.culprit, refused.value.wrong) == ("parameter 'n'", "is no text before the DAG runs")
    assert refused.value.right


def test_an_output_that_is_a_key_or_property_of_an_object_that_has_none() -> None:
    outputs = {"a": FromKey("a"), "b": FromProperty("b")}
    for name, output in outputs.items():
        made = DAG({"n": Task(_text, {}, {name: output})}, {}, {name: FromNodeOutput("n", name)})
        with pytest.raises(NodeFailed, match=f"'{name}'.*returned a str without"):
            invoke(made)
