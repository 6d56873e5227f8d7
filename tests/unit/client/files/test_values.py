"""A node in a process of its own: its inputs are made of files with what their sources read, and it is called once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dagcelery import Retry, Skipped, current, dag, task
from dagcelery.client import invoke_with_locations
from dagcelery.client.located import ToBeRetried
from dagcelery.errors import InvalidParameters, NodeFailed


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def listed(xs: list[Any]) -> list[Any]:
    return xs


@task(retry=Retry(max_attempts=3, wait=3600, on=KeyError))
def fails(x: int) -> int:
    raise KeyError(x) if x else ValueError("no x")


@task
def piece(x: int) -> list[Any]:
    found = current()
    return [found.run_id, found.address, found.index, found.attempt]


@dag
def study(n: int, words: list[int]) -> Any:
    found = numbers(n)
    pairs = [listed([x, n, found]) for x in found]
    return [pairs, [fails(word) for word in words], [piece.options(name="told")(x) for x in found]]


def written(folder: Path, **values: object) -> dict[str, Path]:
    files = {name: folder / f"{name}.json" for name in values}
    for name, file in files.items():
        file.write_text(json.dumps(values[name]))
    return files


def test_inputs_are_made_of_values_and_of_the_items_of_lists(tmp_path: Path) -> None:
    files = written(tmp_path, n=3, item=1, all=[0, 1, 2])
    found = invoke_with_locations(
        study,
        node_name="listed",
        values={"n": files["n"], "numbers.return_value": files["all"]},
        items={"numbers.return_value": files["item"]},
    )
    assert found == [1, 3, [0, 1, 2]]


def test_a_value_that_is_missing_is_told_with_its_option(tmp_path: Path) -> None:
    item = written(tmp_path, item=1)["item"]
    with pytest.raises(
        InvalidParameters, match=r"value 'n' for node 'listed': is needed and missing; .* --from n=FILE"
    ):
        invoke_with_locations(study, node_name="listed", items={"numbers.return_value": item})


def test_what_is_not_read_is_refused(tmp_path: Path) -> None:
    files = written(tmp_path, x=1)
    with pytest.raises(InvalidParameters, match="value 'x' for node 'numbers': is not read"):
        invoke_with_locations(study, {"n": 1}, node_name="numbers", values=files)
    with pytest.raises(InvalidParameters, match="study': is not one task of a DAG"):
        invoke_with_locations(study, {"n": 1, "words": []}, values=files)


def test_a_list_is_taken_apart_that_was_not_made_by_element(tmp_path: Path) -> None:
    files = written(tmp_path, words=[5, 6])
    invoke_with_locations(study, node_name="fails", make="items", values=files, outputs={"items": tmp_path / "items"})
    names = json.loads((tmp_path / "items" / "partitions.json").read_text())
    assert [(tmp_path / "items" / name).read_text() for name in names] == ["5", "6"]


def test_a_node_has_only_what_belongs_to_it_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters, match="node 'numbers': has no condition to be made"):
        invoke_with_locations(study, node_name="numbers", make="condition", outputs={"condition": tmp_path / "it"})


@pytest.mark.parametrize(("retries", "kind"), [(0, ToBeRetried), (1, ToBeRetried), (2, NodeFailed)])
def test_it_is_called_once_and_its_policy_says_whether_another_call_follows(
    retries: int, kind: type[Exception], tmp_path: Path
) -> None:
    files = written(tmp_path, x=1)
    with pytest.raises(kind, match="KeyError"):
        invoke_with_locations(study, node_name="fails", inputs=files, retries=retries)
    files["x"].write_text("0")
    with pytest.raises(NodeFailed, match="no x"):
        invoke_with_locations(study, node_name="fails", inputs=files, retries=retries)


def test_a_failure_that_stands_may_be_an_item_that_was_left_out(tmp_path: Path) -> None:
    files, folder = written(tmp_path, x=0), tmp_path / "list"
    folder.mkdir()
    place: dict[str, Any] = {"outputs": {"return_value": folder / "0"}, "address": "fails[0]"}
    invoke_with_locations(study, node_name="fails", inputs=files, skip=True, **place)
    (skipped,) = invoke_with_locations(listed, inputs={"xs": folder})
    assert skipped == Skipped("fails[0]", "ValueError", "no x")


def test_current_tells_of_the_piece_that_it_is_run_for(tmp_path: Path) -> None:
    found = invoke_with_locations(
        study, node_name="told", inputs=written(tmp_path, x=2), run_id="r1", address="told[2]", retries=1
    )
    assert found == ["r1", "told[2]", 2, 2]


def test_a_folder_of_folders_is_a_list_of_lists(tmp_path: Path) -> None:
    for name, values in {"0": [1, 2], "1": []}.items():
        (tmp_path / "xs" / name).mkdir(parents=True)
        for at, value in enumerate(values):
            (tmp_path / "xs" / name / str(at)).write_text(str(value))
        (tmp_path / "xs" / name / "partitions.json").write_text(json.dumps([str(at) for at in range(len(values))]))
    assert invoke_with_locations(listed, inputs={"xs": tmp_path / "xs"}) == [[1, 2], []]
