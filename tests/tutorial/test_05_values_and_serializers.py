"""5. Values travel as bytes: JSON unless you say otherwise, and never changed on the way."""

from __future__ import annotations

import datetime
import enum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import pytest

from dagcelery import AsJSON, AsPickle, Serialize, Serializer, dag, invoke, task
from dagcelery.errors import NodeFailed, SerializationError


class AsLines:
    """A serializer of your own: an extension, and a way to a file and back."""

    extension = "txt"

    def serialize(self, value: list[str], writer: BinaryIO) -> None:
        writer.write("\n".join(value).encode())

    def deserialize(self, reader: BinaryIO) -> list[str]:
        return reader.read().decode().split("\n")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsLines)

    def __hash__(self) -> int:
        return 0


@task
def echo(x: Any) -> Any:
    return x


@dag
def echoed(x: Any) -> Any:
    return echo(x)


@pytest.mark.parametrize("value", [0, False, "", None, [], {}, 0.0, [None], {"": None}])
def test_falsy_values_survive(value: object) -> None:
    assert invoke(echoed, {"x": value}) == value
    assert type(invoke(echoed, {"x": value})) is type(value)


def test_a_tuple_becomes_a_list_as_json_knows_no_tuples() -> None:
    assert invoke(echoed, {"x": (1, (2, 3))}) == [1, [2, 3]]


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize("value", [{1: "a"}, Colour.RED, float("nan"), {1, 2}, b"bytes", 1j])
def test_what_json_would_change_is_refused(value: object) -> None:
    with pytest.raises(SerializationError, match="parameter 'x'"):
        invoke(echoed, {"x": value})


def test_the_error_names_the_node_the_place_and_the_remedy() -> None:
    @task
    def report() -> Any:
        return {"rows": [{"id": 1}, {"id": {2}}]}

    @dag
    def reported() -> Any:
        return report()

    with pytest.raises(NodeFailed, match=r"'report'.*\['rows'\]\[1\]\['id'\].*set") as failed:
        invoke(reported)
    assert "AsPickle" in failed.value.message


def test_nan_is_a_value_where_it_is_allowed() -> None:
    @task(serializer=AsJSON(allow_nan=True, indent=2))
    def nan() -> float:
        return float("nan")

    @dag
    def not_a_number() -> float:
        return nan()

    assert invoke(not_a_number) != invoke(not_a_number)


def test_a_dag_may_carry_all_its_values_pickled() -> None:
    @dag(serializer=AsPickle())
    def pickled(x: Any) -> Any:
        return echo(x)

    value = {1: Colour.RED, "set": {1, 2}, "when": datetime.date(2024, 1, 1), "tuple": (1,)}
    assert invoke(pickled, {"x": value}) == value


def test_a_task_may_carry_its_result_with_a_serializer_of_its_own() -> None:
    @task(serializer=AsPickle())
    def unique(xs: list[int]) -> set[int]:
        return set(xs)

    @dag
    def distinct(xs: list[int]) -> Any:
        return echo(len_of(unique(xs)))

    @task
    def len_of(xs: set[int]) -> int:
        return len(xs)

    assert invoke(distinct, {"xs": [1, 1, 2]}) == 2


def test_each_key_of_a_result_may_have_its_own() -> None:
    @task(serializer=Serialize(AsJSON(), lines=AsLines(), model=AsPickle()))
    def train() -> dict[str, Any]:
        return {"lines": ["a", "b"], "model": {1: 2}, "score": 0.5}

    @task
    def show(lines: list[str], model: dict[int, int], score: float) -> str:
        return f"{lines} {model} {score}"

    @dag
    def trained() -> str:
        made = train()
        return show(made["lines"], made["model"], made["score"])

    assert invoke(trained) == "['a', 'b'] {1: 2} 0.5"


def test_an_annotation_names_a_serializer_too() -> None:
    @task
    def read(text: str) -> Annotated[list[str], AsLines()]:
        return text.split()

    @task
    def count(lines: Annotated[list[str], AsLines()]) -> int:
        return len(lines)

    @dag
    def counted(text: str) -> int:
        return count(read(text))

    assert invoke(counted, {"text": "a b c"}) == 3


def test_ours_and_yours_have_the_same_three_parts() -> None:
    assert isinstance(AsJSON(), Serializer)
    assert isinstance(AsPickle(), Serializer)
    assert isinstance(AsLines(), Serializer)


@pytest.mark.parametrize("serializer", [AsJSON(), AsJSON(indent=2), AsPickle(), AsLines()])
def test_a_serializer_leaves_the_file_open_that_it_writes_to(serializer: Serializer, tmp_path: Path) -> None:
    with (tmp_path / f"value.{serializer.extension}").open("w+b") as file:
        serializer.serialize(["a", "b"], file)
        file.seek(0)
        assert serializer.deserialize(file) == ["a", "b"]


def test_the_default_serializer_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGCELERY_SERIALIZER", "pickle")
    assert invoke(echoed, {"x": {1, 2}}) == {1, 2}


def test_a_task_cannot_change_the_value_that_another_one_gets() -> None:
    @task
    def made() -> list[int]:
        return [1]

    @task
    def spoil(xs: list[int]) -> int:
        xs.append(2)
        return len(xs)

    @dag
    def spoiled() -> list[Any]:
        xs = made()
        return [spoil(xs), spoil(xs), xs]

    assert invoke(spoiled) == [2, 2, [1]]
