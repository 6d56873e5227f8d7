"""`invoke` gives outputs back by name, as values or as serialized files in a folder."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import msgpack
import pytest

from dagcelery import ReturnDeserializedOutputs, StoreSerializedOutputsInPath, Task, invoke
from dagcelery.client import OutputFile, PartitionedOutput
from dagcelery.errors import InvalidLocation, InvalidParameters, SerializationError
from dagcelery.model import DAG, FromNodeOutput, FromParam, FromReturnValue

from . import vocabulary as words


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_values_come_back_by_name() -> None:
    found = invoke(words.study, {"n": 3}, outputs=ReturnDeserializedOutputs())
    assert found == {"key_squares": [0, 1, 4], "key_sum": 17, "key_low": 0, "key_high": 4}
    assert invoke(words.total, {"xs": [1, 2]}, outputs=ReturnDeserializedOutputs()) == {"return_value": 3}
    assert invoke(words.declared, {"n": 3}, ReturnDeserializedOutputs()) == {
        "items": [0, 1, 2],
        "doubled": [0, 2, 4],
        "sum": 6,
    }


def test_each_output_is_a_file_in_its_own_serialization(tmp_path: Path) -> None:
    found = invoke(words.study, {"n": 3}, outputs=StoreSerializedOutputsInPath(tmp_path))
    assert json.loads((tmp_path / "key_sum").read_text()) == 17
    assert (tmp_path / "key_high").read_text() == "4"
    assert msgpack.unpackb((tmp_path / "key_low").read_bytes()) == 0
    for name in ("key_sum", "key_high", "key_low"):
        assert isinstance(found[name], OutputFile)
        assert found[name].filename == str(tmp_path / name)
    with open(found["key_sum"].filename, "rb") as reader:
        assert found["key_sum"].serializer.deserialize(reader) == 17


def test_a_fan_out_is_a_folder_with_a_file_for_each_item_and_their_names(tmp_path: Path) -> None:
    found = invoke(words.study, {"n": 3}, outputs=StoreSerializedOutputsInPath(str(tmp_path)))["key_squares"]
    assert isinstance(found, PartitionedOutput)
    folder = tmp_path / "key_squares"
    assert names(folder) == ["0", "1", "2", "partitions.json"]
    assert json.loads((folder / "partitions.json").read_text()) == ["0", "1", "2"]
    assert [pickle.loads(Path(file.filename).read_bytes()) for file in found] == [0, 1, 4]
    assert len(found) == 3


def test_a_task_alone_writes_its_outputs(tmp_path: Path) -> None:
    task = words.declared.nodes["sums"]
    assert isinstance(task, Task)
    invoke(task, {"xs": [1, 2]}, outputs=StoreSerializedOutputsInPath(tmp_path))
    assert {name: (tmp_path / name).read_text() for name in names(tmp_path)} == {"sum": "3", "count": "2"}


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    invoke(words.greet, {"name": "Ada"}, outputs=StoreSerializedOutputsInPath(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b" / "return_value").read_text() == '"hello, Ada"'


# -- what cannot be ------------------------------------------------------------------------------
def test_an_output_that_is_there_already_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "key_sum").write_text("mine")
    with pytest.raises(InvalidLocation, match=r"output 'key_sum'.*is there already; remove it"):
        invoke(words.study, {"n": 3}, outputs=StoreSerializedOutputsInPath(tmp_path))
    assert names(tmp_path) == ["key_sum"]
    assert (tmp_path / "key_sum").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidLocation, match="cannot be made"):
        invoke(words.greet, {"name": "Ada"}, outputs=StoreSerializedOutputsInPath(tmp_path / "file" / "x"))


class Picky:
    """A serializer that writes half of a value and then refuses it, once it was told to."""

    extension = "picky"
    refused = False

    def serialize(self, value: Any, writer: Any) -> None:
        writer.write(b"half")
        if Picky.refused and value == 4:
            raise ValueError("no fours")
        writer.write(str(value).encode())

    def deserialize(self, reader: Any) -> int:
        return int(reader.read()[4:])


def test_one_element_that_cannot_be_written_leaves_no_file_of_any_output(tmp_path: Path) -> None:
    twice = words.declared.nodes["twice"]
    assert isinstance(twice, Task)
    dag = DAG(
        {
            "made": words.declared.nodes["made"],
            "twice": Task(twice.func, twice.inputs, {"doubled": FromReturnValue(Picky())}, partition_by_input="x"),
            "last": Task(trigger, {"n": FromParam()}, {"done": FromReturnValue()}, after=["twice"]),
        },
        {"n": FromParam()},
        {"done": FromNodeOutput("last", "done"), "doubled": FromNodeOutput("twice", "doubled")},
    )
    with pytest.raises(SerializationError, match=r"output 'doubled' at \[2\].*no fours"):
        invoke(dag, {"n": 4}, outputs=StoreSerializedOutputsInPath(tmp_path))
    assert names(tmp_path) == []


class OneNumber:
    """A serializer that takes a number, and no list of numbers."""

    extension = "number"

    def serialize(self, value: int, writer: Any) -> None:
        writer.write(b"%d" % value)

    def deserialize(self, reader: Any) -> int:
        return int(reader.read())


def test_a_serializer_of_elements_serves_where_nobody_takes_them_one_by_one(tmp_path: Path) -> None:
    dag = DAG(
        {
            "made": Task(words.made, {"n": FromParam()}, {"items": FromReturnValue(OneNumber(), is_partitioned=True)}),
            "sums": Task(words.sums, {"xs": FromNodeOutput("made", "items")}, {"all": FromReturnValue()}),
        },
        {"n": FromParam()},
        {"items": FromNodeOutput("made", "items"), "all": FromNodeOutput("sums", "all")},
    )
    assert invoke(dag, {"n": 4}) == {"items": [0, 1, 2, 3], "all": {"sum": 6, "count": 4}}
    assert invoke(dag, {"n": 0}) == {"items": [], "all": {"sum": 0, "count": 0}}
    invoke(dag, {"n": 2}, outputs=StoreSerializedOutputsInPath(tmp_path))
    assert [(tmp_path / "items" / name).read_text() for name in ("0", "1", "partitions.json")] == [
        "0",
        "1",
        '["0", "1"]',
    ]


def trigger(n: int) -> int:
    Picky.refused = True
    return n


def test_what_says_nothing_of_outputs_is_refused() -> None:
    with pytest.raises(InvalidParameters, match=r"outputs='there'.*StoreSerializedOutputsInPath"):
        invoke(words.greet, {"name": "Ada"}, outputs="there")  # type: ignore[arg-type]


@pytest.mark.parametrize("folder", [3, None, "", "a\0b", b"bytes"])
def test_a_folder_that_is_no_path_is_refused(folder: Any) -> None:
    with pytest.raises(InvalidLocation, match=r"the folder for outputs: .* is not a path; give a str or a Path"):
        invoke(words.greet, {"name": "Ada"}, outputs=StoreSerializedOutputsInPath(folder))


def test_an_output_that_is_not_iterable_cannot_be_written_by_element(tmp_path: Path) -> None:
    dag = DAG(
        {"one": Task(words.twice, {"x": FromParam()}, {"items": FromReturnValue(is_partitioned=True)})},
        {"x": FromParam()},
        {"items": FromNodeOutput("one", "items")},
    )
    with pytest.raises(SerializationError, match=r"output 'items'.*it is of type int, which is not iterable"):
        invoke(dag, {"x": 1}, outputs=StoreSerializedOutputsInPath(tmp_path))
    assert names(tmp_path) == []
