"""`dagcelery.compat.dagger`: py-dagger's modules, names of nodes, return shapes and errors."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from dagcelery import when
from dagcelery.compat import dagger
from dagcelery.compat.dagger import AsJSON, AsPickle, FromKey, FromNodeOutput, FromParam, FromReturnValue, dsl
from dagcelery.compat.dagger.runtime.local import ReturnDeserializedOutputs, invoke
from dagcelery.errors import InvalidParameters, SerializationError
from dagcelery.model import DAG


@dsl.task()
def generate_numbers(seed: int) -> list[int]:
    random.seed(seed)
    return list(range(random.randint(3, 20)))


@dsl.task()
def raise_number(n: int, exponent: int) -> int:
    return int(n**exponent)


@dsl.task()
def sum_numbers(numbers: list[int]) -> int:
    return sum(numbers)


@dsl.DAG()
def map_reduce(seed: int, exponent: int) -> int:
    return sum_numbers([raise_number(n, exponent) for n in generate_numbers(seed)])


@dsl.task
def echo(x: Any) -> Any:
    return x


def built(body: Any) -> DAG:
    return dsl.build(dsl.DAG(body))


def test_the_names_of_the_old_package_are_all_there() -> None:
    assert {
        "dsl",
        "DAG",
        "Task",
        "FromParam",
        "FromNodeOutput",
        "FromKey",
        "FromProperty",
        "FromReturnValue",
        "AsJSON",
        "AsPickle",
        "Serializer",
        "SerializationError",
        "DeserializationError",
        "__version__",
    } == set(dagger.__all__)


# --- what `invoke` returns ---


def test_outputs_come_back_by_name() -> None:
    assert invoke(dsl.build(map_reduce), params={"seed": 1, "exponent": 2}) == {"return_value": 91}
    assert invoke(dsl.build(map_reduce), {"seed": 1, "exponent": 2}, ReturnDeserializedOutputs()) == {
        "return_value": 91
    }


def test_a_dag_that_returns_a_mapping_has_an_output_for_each_key() -> None:
    assert invoke(built(lambda: {"a": echo(1), "b": echo(2)})) == {"key_a": 1, "key_b": 2}


def test_a_dag_or_a_task_that_gives_nothing_back_returns_an_empty_mapping() -> None:
    @dsl.DAG
    def nothing() -> None:
        echo(1)

    assert invoke(dsl.build(nothing)) == {}
    assert invoke(dagger.Task(echo.fn, {"x": FromParam()}), {"x": 1}) == {}


def test_a_task_alone_returns_its_outputs() -> None:
    task = dagger.Task(echo.fn, {"x": FromParam()}, {"all": FromReturnValue(), "a": FromKey("a")})
    assert invoke(task, {"x": {"a": 1}}) == {"all": {"a": 1}, "a": 1}


def test_a_declared_dag_returns_a_mapping_even_of_its_only_output() -> None:
    made = dagger.DAG(
        nodes={"one": dagger.Task(echo.fn, {"x": FromParam("y")}, {"out": FromReturnValue()})},
        inputs={"y": FromParam()},
        outputs={"return_value": FromNodeOutput("one", "out")},
    )
    assert invoke(made, {"y": 0}) == {"return_value": 0}


# --- parameters ---


def test_superfluous_parameters_are_ignored_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"ignored.*\['more'\]"):
        assert invoke(dsl.build(map_reduce), {"seed": 1, "exponent": 2, "more": 3}) == {"return_value": 91}


def test_missing_parameters_are_told_with_those_that_were_expected_and_given() -> None:
    expected = r"contain .*\['exponent', 'seed'\].*actually supplied: \['seed'\].*missing: \['exponent'\]"
    with pytest.raises(ValueError, match=expected) as refused:
        invoke(dsl.build(map_reduce), {"seed": 1})
    assert isinstance(refused.value, InvalidParameters)


@pytest.mark.parametrize(
    ("node", "params", "told"),
    [
        (map_reduce, 3, "params=3: are not a mapping"),
        (3, {}, "3: it is neither a DAG nor a task"),
        (lambda: 1, {}, "neither a DAG nor a task"),
    ],
)
def test_what_cannot_be_run_is_told(node: Any, params: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        invoke(node, params)


def test_decorated_functions_need_not_be_built() -> None:
    assert invoke(map_reduce, {"seed": 1, "exponent": 2}) == {"return_value": 91}
    assert invoke(echo, {"x": 1}) == {"return_value": 1}


# --- graphs ---


def test_nodes_are_named_with_dashes_and_numbered_from_one_where_there_are_several() -> None:
    assert list(dsl.build(map_reduce).nodes) == ["generate-numbers", "raise-number", "sum-numbers"]
    twice = built(lambda: {"a": map_reduce(1, 2), "b": map_reduce(1, 3), "c": sum_numbers([1])})
    assert list(twice.nodes) == ["map-reduce-1", "map-reduce-2", "sum-numbers"]
    assert invoke(twice) == {"key_a": 91, "key_b": 441, "key_c": 1}


def test_a_map_is_a_node_that_is_partitioned_by_an_input() -> None:
    node = dsl.build(map_reduce).nodes["raise-number"]
    assert node.partition_by_input == "n"
    assert node.inputs["n"] == FromNodeOutput("generate-numbers", "return_value")
    assert dsl.build(map_reduce).nodes["generate-numbers"].outputs["return_value"].is_partitioned  # type: ignore[union-attr]


def test_runtime_options_are_kept_on_tasks_dags_and_nested_dags() -> None:
    @dsl.task(runtime_options={"cpu": 1})
    def f() -> int:
        return 1

    @dsl.DAG(runtime_options={"cpu": 2})
    def inner() -> int:
        return f()

    @dsl.DAG(runtime_options={"cpu": 3})
    def outer() -> int:
        return inner()

    made = dsl.build(outer)
    nested = made.nodes["inner"]
    assert isinstance(nested, DAG)
    options = [made.runtime_options, nested.runtime_options, nested.nodes["f"].runtime_options]
    assert options == [{"cpu": 3}, {"cpu": 2}, {"cpu": 1}]


def test_dags_that_one_function_makes_have_options_of_their_own() -> None:
    def made(cpu: int) -> Any:
        @dsl.DAG(runtime_options={"cpu": cpu})
        def inner() -> Any:
            return echo(cpu)

        return inner

    first, second = made(1), made(2)
    nested = built(lambda: {"first": first(), "second": second()}).nodes.values()
    assert [each.runtime_options for each in (first, second, *nested)] == [{"cpu": 1}, {"cpu": 2}] * 2


def test_a_nested_dag_may_be_mapped() -> None:
    outer = built(lambda: sum_numbers([map_reduce(seed, 1) for seed in echo([1, 1])]))
    assert invoke(outer) == {"return_value": 42}


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (lambda: _mapped_twice(echo([1, 2, 3])), {"key_a": 12, "key_b": 6}),
        (lambda: _twice([raise_number(n, 1) for n in echo([1, 2, 3])]), {"key_a": 6, "key_b": 6}),
        (lambda: _whole_and_mapped(echo([1, 2, 3])), {"key_a": 6, "key_b": 14}),
        (lambda: echo({"a": echo(1)}), {"return_value": {"a": 1}}),
        (lambda: echo(echo({"a": {"b": 5}})["a"]["b"]), {"return_value": 5}),
        (lambda: echo({"a": [echo(1), 2]}), {"return_value": {"a": [1, 2]}}),
        (lambda: echo({"a": [7, *[doubled(x) for x in echo([1, 2])]]}), {"return_value": {"a": [7, 2, 4]}}),
        (lambda: sum_numbers([echo(1) for _ in echo(["a", "b"])]), {"return_value": 2}),
    ],
    ids=[
        "two maps of one list",
        "two reducers of one map",
        "mapped and whole",
        "within a dict",
        "within a part",
        "within a list in a dict",
        "a map within a list in a dict",
        "a map that ignores its items",
    ],
)
def test_what_was_wrong_is_right(body: Any, result: Mapping[str, object]) -> None:
    assert invoke(built(body)) == result


def _mapped_twice(xs: Any) -> Any:
    return {"a": sum_numbers([doubled(x) for x in xs]), "b": sum_numbers([raise_number(x, 1) for x in xs])}


def _twice(ys: Any) -> Any:
    return {"a": sum_numbers(ys), "b": sum_numbers(ys)}


def _whole_and_mapped(xs: Any) -> Any:
    return {"a": sum_numbers(xs), "b": sum_numbers([raise_number(x, 2) for x in xs])}


@dsl.task
def doubled(x: int) -> int:
    return 2 * x


CALLED: list[int] = []


@dsl.task
def noted(x: int) -> int:
    CALLED.append(x)
    return x


def test_what_is_new_may_be_used_as_well() -> None:
    made = built(lambda n: doubled(when(echo(n), then=lambda: noted(doubled(n)), otherwise=lambda: noted(n))))
    assert [invoke(made, {"n": n}) for n in (5, 0)] == [{"return_value": 20}, {"return_value": 0}]
    assert CALLED == [10, 0]


# --- errors while it runs ---


class Complex(ValueError):
    """An error that cannot be made of a text."""

    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(code, why)


@dsl.task
def fail(kind: str) -> None:
    raise Complex(3, why="because") if kind == "complex" else {"value": ValueError, "key": KeyError}[kind]("no")


@dsl.DAG
def failing(kind: str) -> None:
    fail(kind)


@dsl.DAG
def outer_failing() -> None:
    failing("value")


def test_an_error_keeps_its_class_and_names_the_nodes_around_it() -> None:
    with pytest.raises(ValueError, match=r"^Error when invoking node 'failing'. Error when invoking node 'fail'. no$"):
        invoke(dsl.build(outer_failing))


def test_an_error_of_a_task_alone_is_the_error_itself() -> None:
    with pytest.raises(ValueError, match=r"^no$"):
        invoke(dagger.Task(fail.fn, {"kind": FromParam()}), {"kind": "value"})


def test_other_errors_are_not_changed() -> None:
    with pytest.raises(KeyError, match=r"^'no'$"):
        invoke(built(lambda: fail("key")))


def test_an_error_with_a_constructor_of_its_own_survives_with_a_note() -> None:
    with pytest.raises(Complex) as failed:
        invoke(built(lambda: fail("complex")))
    assert failed.value.args == (3, "because")
    assert failed.value.__notes__[0].startswith("Error when invoking node 'fail'.")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (lambda: echo(echo({})["a"]), ValueError),
        (lambda: echo(echo(3)["a"]), TypeError),
        (lambda: echo(made_of_sets()), SerializationError),
        (lambda: echo(echo(echo({})["a"]["b"])), SerializationError),
    ],
    ids=["a key that is missing", "no mapping", "what JSON does not take", "beyond py-dagger"],
)
def test_what_cannot_be_serialized_says_so(body: Any, kind: type[Exception]) -> None:
    told = r"Error when invoking node '[a-z-]+(1|sets)'. We encountered the following error while attempting to serial"
    with pytest.raises(kind, match=told):
        invoke(built(body))


@dsl.task
def made_of_sets() -> Any:
    return {1}


@pytest.mark.parametrize("why", ["no such thing", TypeError("no such thing")])
def test_a_serializer_may_raise_its_error_with_a_text_or_an_error_alone(why: Any) -> None:
    assert str(SerializationError(why)) == "no such thing"


# --- serializers ---


def test_a_serializer_for_the_whole_result_and_for_its_keys() -> None:
    @dsl.task(serializer=dsl.Serialize(AsPickle(), text=AsJSON(indent=2)))
    def both() -> dict[str, Any]:
        return {"text": "a", "set": {1}}

    made = built(lambda: {"text": (out := both())["text"], "set": out["set"]})
    outputs = made.nodes["both"].outputs
    assert {name: output.serializer for name, output in outputs.items()} == {  # type: ignore[union-attr]
        "key_text": AsJSON(indent=2),
        "key_set": AsPickle(),
    }
    assert invoke(made) == {"key_text": "a", "key_set": {1}}
