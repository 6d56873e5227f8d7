"""The rules that values keep: parameters before anything runs, what tasks return while a run goes on."""

from __future__ import annotations

import enum
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import pytest

from dagcelery import (
    DAG,
    AsPickle,
    FromKey,
    FromNodeOutput,
    FromParam,
    FromProperty,
    FromReturnValue,
    Task,
    dag,
    invoke,
    task,
)
from dagcelery.errors import InvalidParameters, NodeFailed, SerializationError
from dagcelery.model import Part

from .telling import Bad, check
from .vocabulary import echo, map_reduce, pickled, power, squares_of


class Colour(enum.Enum):
    RED = 1


class Pair(NamedTuple):
    left: int
    right: int


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
LOCK = threading.Lock()

# What JSON would change or lose: the value, what is wrong with it, what to pass instead.
UNSERIALIZABLE: dict[str, tuple[Any, str, str]] = {
    "a set": ({1}, "of type set", "sorted(value)"),
    "bytes": (b"x", "of type bytes", "base64"),
    "not a number": (float("nan"), "is nan", "allow_nan=True"),
    "infinity": (float("inf"), "is inf", "allow_nan=True"),
    "a number for a key": ({1: "a"}, "the key 1 of type int", "use str keys"),
    "an enum": (Colour.RED, "Colour.RED, which would lose its class", ".value"),
    "a named tuple": (Pair(1, 2), "named tuple", "tuple(value)"),
    "a lock": (LOCK, "lock, which JSON does not have", "convert it"),
    "a function": (power.fn, "of type function", "convert it"),
    "a circle": (CIRCLE, "contains itself", "break the circle"),
    "an object": (object(), "of type object", "convert it"),
    "half a character": ("\ud800", "lone surrogate", "text.encode"),
}

PARAMETERS = {
    "28 one that is missing": Bad(
        lambda: invoke(map_reduce), "map_reduce", "missing ['n']; expected ['n', 'exponent'], got []", "give every"
    ),
    "28 one that a task misses": Bad(lambda: invoke(power, {"exponent": 2}), "power", "missing ['x']", "no default"),
    "28 one that a call misses": Bad(lambda: map_reduce.invoke(), "'map_reduce'", "'n'", "it takes (n"),
    "28 one too many": Bad(lambda: map_reduce.invoke(1, 2, 3), "'map_reduce'", "too many", "it takes (n"),
    "an unknown one, with the nearest": Bad(
        lambda: invoke(map_reduce, {"n": 3, "exponnt": 2}), "'exponnt'", "does not exist", "did you mean 'exponent'?"
    ),
    "an unknown one of a call, with the nearest": Bad(
        lambda: map_reduce.invoke(n=3, exponnt=2),
        "'map_reduce'",
        "none is called 'exponnt'",
        "did you mean 'exponent'?",
    ),
    "an unknown one like no other": Bad(
        lambda: invoke(map_reduce, {"n": 3, "zzz": 2}), "'zzz'", "does not exist", "it takes ['n', 'exponent']"
    ),
    "an unknown one where there are none": Bad(
        lambda: invoke(dag(lambda: power(3)), {"x": 1}), "'x'", "does not exist", "it takes no parameters"
    ),
    "one whose name is a number": Bad(lambda: invoke(map_reduce, {3: 4}), "'3'", "does not exist", "it takes"),
    "a list of them": Bad(lambda: invoke(map_reduce, [3]), "map_reduce", "are [3], not a mapping", "give a dict"),
    "an empty list of them": Bad(lambda: invoke(map_reduce, []), "map_reduce", "not a mapping", "give a dict"),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_that_do_not_fit_are_refused_before_anything_runs(name: str) -> None:
    bad = PARAMETERS[name]
    Bad(bad.do, bad.culprit, bad.wrong, bad.right, InvalidParameters).is_refused()


@pytest.mark.parametrize("name", UNSERIALIZABLE)
def test_a_parameter_that_would_change_on_its_way_is_refused_before_anything_runs(name: str) -> None:
    value, wrong, right = UNSERIALIZABLE[name]
    Bad(lambda: invoke(echo, {"x": value}), "parameter 'x'", wrong, right, SerializationError).is_refused()


VALUES = {
    "30 deep inside": Bad(lambda: invoke(echo, {"x": {"a": [1, {2}]}}), "'x' at ['a'][1]", "type set", "sorted("),
    "30 an element": Bad(lambda: invoke(squares_of, {"xs": [1, {2}]}), "'xs' at [1]", "type set", "sorted("),
    "30 a lock, pickled": Bad(lambda: invoke(pickled, {"x": LOCK}), "'x'", "cannot be pickled", "where they are used"),
    "30 a default": Bad(lambda: invoke(dag(lambda x={1}: echo(x))), "parameter 'x'", "type set", "sorted("),
    "30 a default that cannot be copied": Bad(
        lambda: invoke(dag(lambda x=LOCK: echo(x))), "literal of type lock", "cannot be copied", "plain data"
    ),
    "31 a number that a fan-out runs over": Bad(
        lambda: invoke(squares_of, {"xs": 3}), "parameter 'xs'", "of type int, which is not iterable", "a list"
    ),
    "31 nothing that a fan-out runs over": Bad(
        lambda: invoke(squares_of, {"xs": None}), "parameter 'xs'", "NoneType, which is not iterable", "a list"
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_cannot_travel_is_refused_with_its_place(name: str) -> None:
    bad = VALUES[name]
    Bad(bad.do, bad.culprit, bad.wrong, bad.right, SerializationError).is_refused()


# --- what tasks return ---


def returning(value: Any, output: Any) -> DAG:
    """A DAG whose node `n` returns a value, of which one output is kept and given back."""
    return DAG({"n": Task(lambda: value, {}, {"out": output})}, outputs={"out": FromNodeOutput("n", "out")})


def failure_of(node: Any, params: dict[str, Any] | None = None) -> NodeFailed:
    with pytest.raises(NodeFailed) as caught:
        invoke(node, params)
    return caught.value


LACKING: dict[str, tuple[DAG, str, str]] = {
    "29 no mapping": (returning(3, FromKey("k")), "a int without the key 'k'", "return a value that has it"),
    "29 a key": (returning({"a": 1}, FromKey("k")), "the key 'k'; it has the keys ['a']", "return a value that has it"),
    "29 a property": (returning({"a": 1}, FromProperty("p")), "without the attribute 'p'", "read another output"),
    "30 a way to be pickled": (returning(LOCK, FromReturnValue(AsPickle())), "cannot be pickled", "plain data"),
}


@pytest.mark.parametrize("name", LACKING)
def test_a_result_that_lacks_what_is_kept_of_it_fails_its_node_with_a_remedy(name: str) -> None:
    made, wrong, right = LACKING[name]
    failed = failure_of(made)
    assert (failed.address, failed.type_name) == ("n", "dagcelery.errors.SerializationError")
    check(failed.__cause__, "output 'out'", wrong, right)


@pytest.mark.parametrize("name", UNSERIALIZABLE)
def test_a_result_that_would_change_on_its_way_fails_its_node_with_a_remedy(name: str) -> None:
    value, wrong, right = UNSERIALIZABLE[name]
    failed = failure_of(returning(value, FromReturnValue()))
    assert (failed.address, failed.type_name) == ("n", "dagcelery.errors.SerializationError")
    check(failed.__cause__, "output 'out' of node 'n'", wrong, right)
    assert right in str(failed)


def test_31_a_result_that_is_no_list_fails_the_node_that_was_to_return_one() -> None:
    @task
    def three() -> Any:
        return 3

    @dag
    def over_three() -> Any:
        xs = three()
        return [power(x) for x in xs]

    failed = failure_of(over_three)
    assert failed.address == "three"
    check(failed.__cause__, "'three'", "of type int, which is not iterable", "return a list")


def test_31_what_a_list_raises_while_it_is_read_fails_the_node_that_returned_it() -> None:
    @task
    def torn() -> Iterator[int]:
        yield 1
        raise RuntimeError("torn")

    @dag
    def over_torn() -> Any:
        xs = torn()
        return [power(x) for x in xs]

    failed = failure_of(over_torn)
    assert (failed.address, failed.type_name, failed.message) == ("torn", "RuntimeError", "torn")


class Unreadable:
    """A serializer that cannot read what it wrote."""

    extension = "bin"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        writer.write(b"something")

    def deserialize(self, reader: BinaryIO) -> Any:
        raise OSError("no more")


def test_30_bytes_that_a_serializer_of_ones_own_cannot_read_fail_the_reader() -> None:
    @task(serializer=Unreadable())
    def written() -> Any:
        return 1

    failed = failure_of(dag(lambda: echo(written())))
    assert (failed.address, failed.type_name) == ("echo", "dagcelery.errors.DeserializationError")
    check(failed.__cause__, "value 0.0", "OSError: no more", "another serializer")


def test_29_a_parameter_without_the_part_that_is_read_fails_the_reader() -> None:
    name_of_row = Part(FromParam("row"), (("key", "name"),))
    failed = failure_of(DAG({"n": Task(echo.fn, {"x": name_of_row})}, {"row": FromParam()}), {"row": {}})
    assert failed.address == "n"
    check(failed.__cause__, "argument", "without the key 'name'", "read another part")


@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyError, OSError])
def test_32_whatever_a_task_raises_is_told_once_with_the_way_to_it(kind: type[Exception]) -> None:
    @task
    def breaks() -> None:
        raise kind("broken")

    @dag
    def inner() -> None:
        return breaks()

    failed = failure_of(dag(lambda: inner()))
    assert (failed.address, failed.type_name) == ("inner/breaks", kind.__name__)
    assert isinstance(failed.__cause__, kind)
    assert str(failed).count("node ") == 1
