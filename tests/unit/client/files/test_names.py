"""Keys become names of outputs and of files, and no two of them become one."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from dagcelery import ReturnDeserializedOutputs, StoreSerializedOutputsInPath, dag, invoke, task
from dagcelery.client import invoke_with_locations
from dagcelery.client.files import PendingOutputs, read
from dagcelery.errors import InvalidLocation
from dagcelery.payload.codecs import AsJSON, codec_for

LONG = "k" * 70
SYLLABLE = "\uac00"
"""Of one letter in the composed normal form, of two in the other."""


@task
def tell(key: str) -> str:
    return key


@task
def parts(n: int) -> dict[str, Any]:
    return {"k" * 60: list(range(n)), "k" * 58 + "_items": [n]}


def returning(keys: list[object]) -> Any:
    @dag
    def returns() -> dict[object, str]:
        return {key: tell(repr(key)) for key in keys}  # type: ignore[return-value]

    return returns


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["a b", "a_b"], ["key_a_b-2", "key_a_b"]),
        (["a_b", "a b", "a.b", "a/b"], ["key_a_b", "key_a_b-2", "key_a_b-3", "key_a_b-4"]),
        ([1, "1"], ["key_1-2", "key_1"]),
        ([None, "None", True, "True"], ["key_None-2", "key_None", "key_True-2", "key_True"]),
        (["a-2", "a b", "a_b", "a_b-2"], ["key_a-2", "key_a_b-3", "key_a_b", "key_a_b-2"]),
        (["-x", "x", "..", "/etc"], ["key_x-2", "key_x", "key___", "key__etc"]),
        ([LONG + "a", LONG + "b"], [f"key_{'k' * 60}", f"key_{'k' * 52}-2"]),
        (
            [SYLLABLE, unicodedata.normalize("NFD", SYLLABLE)],
            [f"key_{SYLLABLE}", f"key_{unicodedata.normalize('NFD', SYLLABLE)}"],
        ),
    ],
)
def test_different_keys_are_different_outputs(keys: list[object], names: list[str], tmp_path: Path) -> None:
    node = returning(keys)
    assert node.invoke() == {key: repr(key) for key in keys}
    found = invoke(node, {}, outputs=ReturnDeserializedOutputs())
    assert list(found.items()) == list(zip(names, map(repr, keys), strict=True))
    files = invoke(node, {}, outputs=StoreSerializedOutputsInPath(tmp_path))
    told = {name: json.loads(Path(file.filename).read_text()) for name, file in files.items()}
    assert told == dict(found)
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_one_reads_each_of_them_off_a_nested_dag() -> None:
    inner = returning(["a b", "a_b", 1, "1"])

    @dag
    def outer() -> list[str]:
        made = inner()
        return [tell(made[key]) for key in ("a_b", "a b", 1, "1")]

    assert outer.invoke() == ["'a_b'", "'a b'", "1", "'1'"]


def test_a_long_key_may_be_read_whole_and_by_element() -> None:
    @dag
    def reads(n: int) -> tuple[list[str], object, list[str], object]:
        made = parts(n)
        first, second = made["k" * 60], made["k" * 58 + "_items"]
        return [tell(each) for each in first], first, [tell(each) for each in second], second

    assert reads.invoke(2) == ([0, 1], [0, 1], [2], [2])


def test_two_outputs_do_not_go_to_one_file_by_two_ways(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    places = {"key_a": tmp_path / "folder" / "f", "key_b": tmp_path / "link" / "f"}
    with pytest.raises(InvalidLocation, match=r"output 'key_b'.*output 'key_a' goes there too"):
        invoke_with_locations(returning(["a", "b"]), outputs=places)


def test_where_a_file_system_knows_no_case_neither_output_is_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")  # the next best thing to a file system that takes a for A
    codec = codec_for(AsJSON())
    with PendingOutputs() as pending:
        pending.file(codec, tmp_path / "folder" / "a", 1, "output 'a'")
        pending.file(codec, tmp_path / "link" / "a", 2, "output 'A'")
        with pytest.raises(InvalidLocation, match=r"takes it for .*folder/a, where another output goes"):
            pending.commit()
    assert list((tmp_path / "folder").iterdir()) == []


def test_files_of_one_number_are_in_no_order(tmp_path: Path) -> None:
    for name in ("0", "1", "01"):
        (tmp_path / name).write_text("1")
    with pytest.raises(InvalidLocation, match="01 and 1 are the same number"):
        read(codec_for(AsJSON()), tmp_path, "input 'xs'")
    (tmp_path / "partitions.json").write_text('["0", "01", "1"]')
    assert read(codec_for(AsJSON()), tmp_path, "input 'xs'") == [1, 1, 1]
