"""`dagcelery.compat.dagger`: what DAGs are made of, where it is found, and how it is compared and shown."""

from __future__ import annotations

import enum
import importlib
import json
from collections import Counter, defaultdict, namedtuple
from io import BytesIO, TextIOWrapper
from typing import Any

import pytest

from dagcelery import invoke as invoke_natively
from dagcelery.compat.dagger import (
    DAG,
    AsJSON,
    AsPickle,
    FromKey,
    FromNodeOutput,
    FromParam,
    FromProperty,
    FromReturnValue,
    SerializationError,
    Task,
    dsl,
)
from dagcelery.compat.dagger.input import EmptyDefaultValue, validate_and_clean_parameters
from dagcelery.compat.dagger.runtime.local import invoke
from dagcelery.compat.dagger.serializer import DefaultSerializer
from dagcelery.payload.codecs import from_spec
from dagcelery.payload.signing import Keyring
from dagcelery.planner.pools import codec_spec

RETURNED = {"return_value": FromReturnValue()}
Pair = namedtuple("Pair", "a b")
Level = enum.IntEnum("Level", "LOW HIGH")


@dsl.task(dsl.Serialize(AsPickle()), {"cpu": 1})
def pickled(x: Any) -> Any:
    return x


@dsl.task()
def add(x: Any, y: Any, z: Any) -> Any:
    return f"{x}-{y}-{z}"


@dsl.DAG()
def nested(a: Any, b: Any = 2, c: Any = 3) -> Any:
    return {"sum": add(a, b, c), "unread": add(a, a, a)}


@dsl.DAG({"cpu": 2})
def outer(a: Any = 10) -> Any:
    return nested(a, c=20)["sum"]


def written_by_hand() -> DAG:
    inner = DAG(
        {
            "add-1": Task(add.func, {"x": FromParam("a"), "y": FromParam("b"), "z": FromParam("c")}, RETURNED),
            "add-2": Task(add.func, {name: FromParam("a") for name in "xyz"}, RETURNED),
        },
        {
            "a": FromParam("a"),
            "b": FromParam("_default_value_b", 2),
            "c": FromParam("_hardcoded_value_c", 20),
        },
        {
            "key_sum": FromNodeOutput("add-1", "return_value"),
            "key_unread": FromNodeOutput("add-2", "return_value"),
        },
    )
    outputs = {"return_value": FromNodeOutput("nested", "key_sum")}
    return DAG({"nested": inner}, {"a": FromParam("a", 10)}, outputs, {"cpu": 2})


def test_a_dag_that_was_built_equals_the_same_one_written_by_hand() -> None:
    assert dsl.build(outer) == written_by_hand()
    assert invoke(dsl.build(outer)) == invoke(written_by_hand()) == {"return_value": "10-2-20"}


def test_a_difference_that_py_dagger_sees_makes_dags_differ() -> None:
    dag = written_by_hand()
    assert dag != DAG(dag.nodes, dag.inputs, dag.outputs)
    assert dag != DAG(dag.nodes, {"a": FromParam("a")}, dag.outputs, {"cpu": 2})


def test_serializers_are_on_everything_that_reads_a_value() -> None:
    @dsl.DAG()
    def reading(x: Any) -> Any:
        add(x, x, x)

    @dsl.DAG()
    def dag() -> None:
        reading(pickled(1))

    built = dsl.build(dag).nodes["reading"]
    assert isinstance(built, DAG)
    assert built.inputs["x"] == FromNodeOutput("pickled", "return_value", AsPickle())
    assert built.nodes["add"].inputs["x"] == FromParam("x", serializer=AsPickle())


def test_a_decorated_function_tells_its_function_and_its_options() -> None:
    assert pickled.func(3) == 3
    assert pickled.runtime_options == {"cpu": 1}
    assert outer.runtime_options == {"cpu": 2}
    assert add.runtime_options == {}


# --- inputs and outputs ---


def test_the_second_argument_of_a_parameter_is_its_default() -> None:
    assert FromParam("n", 10000).default_value == 10000
    assert FromParam("n", 10000).has_default_value()
    assert FromParam("n", None).has_default_value()
    assert FromParam("n").default_value == EmptyDefaultValue()
    assert not FromParam("n", EmptyDefaultValue()).has_default_value()


def test_a_serializer_in_the_second_place_is_one_as_in_versions_without_defaults() -> None:
    assert FromParam("n", AsPickle()) == FromParam("n", serializer=AsPickle())
    assert not FromParam("n", AsPickle()).has_default_value()


def test_what_names_no_serializer_has_the_default() -> None:
    parts = (FromParam(), FromNodeOutput("a", "b"), FromReturnValue(), FromKey("a"), FromProperty("a"), dsl.Serialize())
    assert all(getattr(part, "serializer", None) or part.root == DefaultSerializer for part in parts)  # type: ignore[union-attr]


def test_falsy_parameters_take_the_place_of_defaults() -> None:
    given = {"a": 0, "more": 1}
    assert validate_and_clean_parameters({"a": FromParam("a", 5), "b": FromParam("b", 6)}, given) == {"a": 0, "b": 6}


def test_outputs_take_their_value_out_of_the_returned_one() -> None:
    assert FromReturnValue[int]().from_function_return_value(3) == 3
    assert FromKey[str, int]("a").from_function_return_value({"a": 1}) == 1
    assert FromProperty("a").from_function_return_value(Pair(1, 2)) == 1
    with pytest.raises(ValueError, match="at least, a key named 'b'"):
        FromKey("b").from_function_return_value({"a": 1})
    with pytest.raises(TypeError, match="an object with a property named 'b'"):
        FromProperty("b").from_function_return_value(3)


def test_a_part_is_shown_as_there() -> None:
    assert repr(FromParam("a", 1)) == f"FromParam(name=a, default_value=1, serializer={AsJSON()})"
    assert repr(FromKey("a")) == f"FromKey(key=a, serializer={AsJSON()}, is_partitioned=False)"
    assert repr(AsJSON(indent=2)) == "AsJSON(indent=2, allow_nan=False)"


@pytest.mark.parametrize(
    "path",
    [
        "dag.topological_sort.topological_sort",
        "data_structures.frozen_mapping.FrozenMapping",
        "dsl.build.build",
        "dsl.node_output_serializer.NodeOutputSerializer",
        "input.empty_default_value.EmptyDefaultValue",
        "input.from_param.FromParam",
        "input.protocol.Input",
        "input.validators.split_required_and_optional_inputs",
        "output.from_key.FromKey",
        "output.protocol.Output",
        "runtime.cli.locations.store_output_in_location",
        "runtime.cli.nested_nodes.find_nested_node",
        "runtime.local.dag.invoke_dag",
        "runtime.local.output.deserialized_outputs",
        "runtime.local.task.invoke_task",
        "runtime.local.types.PartitionedOutput",
        "serializer.as_json.AsJSON",
        "serializer.as_json.JSONSerializableType",
        "serializer.errors.SerializationError",
        "task.task.Task",
    ],
)
def test_a_name_is_found_at_its_old_path(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert hasattr(importlib.import_module(f"dagcelery.compat.dagger.{module}"), name)


# --- values ---


def test_a_parameter_reaches_a_task_as_the_object_that_it_is() -> None:
    value = {1, 2}
    task = Task(lambda df: [len(df), df is value], {"df": FromParam()}, {"o": FromReturnValue()})
    assert invoke(task, {"df": value}) == {"o": [2, True]}
    dag = DAG({"one": task}, {"df": FromParam()}, {"o": FromNodeOutput("one", "o")})
    assert invoke(dag, {"df": value}) == {"o": [2, True]}


@pytest.mark.parametrize(
    "value",
    [Counter("aab"), defaultdict(list, a=[1]), {1: "one"}, Level.HIGH, Pair(1, 2), (1, 2), 3.5],
    ids=lambda value: type(value).__name__,
)
def test_a_result_comes_back_as_json_says_it(value: Any) -> None:
    task = Task(lambda: value, {}, {"o": FromReturnValue()})
    assert invoke(task) == {"o": json.loads(json.dumps(value))}


def test_what_json_takes_travels_between_nodes_and_through_the_engine_as_well() -> None:
    @dsl.DAG()
    def dag() -> Any:
        return {"plain": add(counted(), 1, 2), "within": add({"a": counted()}, 1, 2)}

    @dsl.task()
    def counted() -> Any:
        return Counter("aab")

    built = dsl.build(dag)
    expected = {"key_plain": "{'a': 2, 'b': 1}-1-2", "key_within": "{'a': {'a': 2, 'b': 1}}-1-2"}
    assert invoke(built) == expected
    assert list(invoke_natively(built).values()) == list(expected.values())


def test_workers_need_no_key_to_read_what_the_default_serializer_wrote() -> None:
    spec = codec_spec(DefaultSerializer)
    codec = from_spec(json.loads(json.dumps(spec)), Keyring.parse(""))
    assert codec.load(codec.dump({1: Level.LOW})) == {"1": 1}


def test_a_serializer_leaves_its_file_open() -> None:
    file = BytesIO()
    AsJSON().serialize([1], file)
    file.write(b"!")
    assert file.getvalue() == b"[1]!"


class AsText:
    """A serializer that closes the file that it writes to, as some libraries do."""

    extension = "txt"

    def serialize(self, value: str, writer: Any) -> None:
        with TextIOWrapper(writer) as text:
            text.write(value)

    def deserialize(self, reader: Any) -> str:
        return str(reader.read().decode())


@pytest.mark.parametrize("size", [0, 10, 3 * 1024 * 1024], ids=["empty", "small", "large"])
def test_values_of_any_size_survive_a_serializer_that_closes_its_file(size: int) -> None:
    text = AsText()
    nodes = {
        "a": Task(lambda: ["x" * size] * 2, {}, {"o": FromReturnValue(text, is_partitioned=True)}),
        "b": Task(lambda x: len(x), {"x": FromNodeOutput("a", "o", text)}, RETURNED, partition_by_input="x"),
        "c": Task(lambda sizes: sizes, {"sizes": FromNodeOutput("b", "return_value")}, RETURNED),
    }
    assert invoke(DAG(nodes, {}, {"o": FromNodeOutput("c", "return_value")})) == {"o": [size, size]}


def test_an_encoder_and_a_decoder_of_the_user_are_used() -> None:
    class Encoder(json.JSONEncoder):
        def default(self, o: Any) -> Any:
            return sorted(o)

    class Decoder(json.JSONDecoder):
        def decode(self, s: str, *_: Any) -> Any:
            return set(super().decode(s))

    serializer = AsJSON(encoder=Encoder, decoder=Decoder)
    with pytest.raises(SerializationError, match="set is not JSON serializable"):
        AsJSON().serialize({1}, BytesIO())
    assert invoke(Task(lambda: {2, 1}, {}, {"o": FromReturnValue(serializer)})) == {"o": {1, 2}}


def test_an_output_that_nobody_reads_is_checked() -> None:
    split = {"o": FromReturnValue(is_partitioned=True)}
    with pytest.raises(TypeError, match=r"Output 'o' was declared as a partitioned output, but .* of type 'int'"):
        invoke(Task(lambda: 5, {}, split))
    with pytest.raises(TypeError, match=r"Error when invoking node 'a'. .* Output 'o' was declared"):
        invoke(DAG({"a": Task(lambda: 5, {}, split)}))


def test_what_a_dag_gives_back_has_the_serializer_that_wrote_it() -> None:
    nodes = {"a": Task(lambda: {1}, {}, {"o": FromReturnValue(AsPickle())})}
    assert invoke(DAG(nodes, {}, {"o": FromNodeOutput("a", "o")})) == {"o": {1}}


def test_async_tasks_and_generators_run() -> None:
    async def count() -> Any:
        return (n for n in range(3))

    nodes = {
        "count": Task(count, {}, {"n": FromReturnValue(is_partitioned=True)}),
        "twice": Task(lambda n: 2 * n, {"n": FromNodeOutput("count", "n")}, RETURNED, partition_by_input="n"),
        "sum": Task(lambda ns: ns, {"ns": FromNodeOutput("twice", "return_value")}, RETURNED),
    }
    assert invoke(DAG(nodes, {}, {"o": FromNodeOutput("sum", "return_value")})) == {"o": [0, 2, 4]}
