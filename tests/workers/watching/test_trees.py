"""A run as a tree: items of mapped DAGs hang below their node, and what is wrong is shown first."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dagcelery import Run, TreeNode, dag, errors, task

from .conftest import SECONDS
from .vocabulary import numbers, rows, square, squares, total, waits


@task
def checked(x: int, bad: int) -> int:
    if x == bad:
        raise ValueError(x)
    return x


@dag
def checked_row(n: int, bad: int) -> int:
    return total([checked(x, bad) for x in numbers(n)])


@dag
def checked_rows(n: int, bad: int) -> int:
    return total([checked_row(x, bad) for x in numbers(n)])


@dag
def deep(n: int) -> int:
    return total([rows(x) for x in numbers(n)])


def shape(node: TreeNode) -> Any:
    """Names and states, nested."""
    return (node.name, node.state, [shape(child) for child in node.children]) if node.children else node.name


def finished(run: Run[Any]) -> Run[Any]:
    run.wait(SECONDS)
    return run


def test_nodes_of_a_run_hang_below_it() -> None:
    found = finished(squares.submit(n=3)).tree()
    assert found.name.endswith(":squares")
    assert (found.state, found.total, found.done) == ("done", 3, 3)
    assert [(node.name, node.state, node.done, node.total) for node in found.children] == [
        ("numbers", "done", 1, 1),
        ("square", "done", 3, 3),
        ("total", "done", 1, 1),
    ]


def test_items_of_a_mapped_dag_hang_below_its_node() -> None:
    found = finished(rows.submit(n=2)).tree()
    assert shape(found)[2] == [
        "numbers",
        (
            "row",
            "done",
            [("row[0]", "done", ["numbers", "square", "total"]), ("row[1]", "done", ["numbers", "square", "total"])],
        ),
        "total",
    ]


def test_an_empty_list_is_done() -> None:
    (_, row, _) = finished(rows.submit(n=1)).tree().children
    (_, squared, _) = row.children[0].children
    assert (squared.name, squared.state, squared.total) == ("square", "done", 0)


def test_maps_in_maps_hang_deeper() -> None:
    (_, outer, _) = finished(deep.submit(n=3)).tree().children
    innermost = outer.children[2].children[1].children[1]
    assert (innermost.name, [node.name for node in innermost.children]) == ("row[1]", ["numbers", "square", "total"])


def test_of_many_items_few_are_shown_and_the_others_counted() -> None:
    found = finished(rows.submit(n=30)).tree(items=3)
    row = found.children[1]
    assert ([item.name for item in row.children], row.left_out) == (["row[0]", "row[1]", "row[2]"], 27)


def test_a_tree_has_no_more_nodes_than_are_asked_for() -> None:
    def size(node: TreeNode) -> int:
        return 1 + sum(size(child) for child in node.children)

    run = finished(rows.submit(n=30))
    assert size(run.tree(items=30)) == 4 + 30 * 4
    assert size(run.tree(items=30, most=20)) <= 25
    assert run.tree(most=2).left_out == 1


def test_the_item_that_failed_is_shown_before_others() -> None:
    run = finished(checked_rows.submit(n=20, bad=18))
    row = run.tree(items=2).children[1]
    assert (row.state, row.failed) == ("failed", 1)
    (failed,) = [item for item in row.children if item.state == "failed"]
    assert failed.name == "checked_row[19]"
    assert [node.state for node in failed.children] == ["done", "failed", "stopped"]


def test_what_goes_on_is_running(tmp_path: Path) -> None:
    run = waits.submit(path=str(tmp_path / "it"))
    while not run.status().nodes[0].running:
        pass
    assert [(node.name, node.state, node.total) for node in run.tree().children] == [
        ("patient", "running", 1),
        ("numbers", "waiting", 1),
        ("square", "waiting", None),
        ("total", "waiting", 1),
    ]
    (tmp_path / "it").touch()
    run.wait(SECONDS)


def test_a_tree_is_data() -> None:
    found = asyncio.run(finished(rows.submit(n=1)).atree()).to_dict()
    assert found["children"][1]["children"][0]["name"] == "row[0]"


def test_an_unknown_run_has_no_tree() -> None:
    with pytest.raises(errors.RunNotFound):
        Run[object]("nobody").tree()


@pytest.mark.parametrize("items", [0, "all", True])
def test_what_is_no_number_of_items_is_refused(items: Any) -> None:
    with pytest.raises(errors.InvalidParameters, match="does not say how many"):
        Run[object]("nobody").tree(items=items)


def test_a_single_task_is_a_tree_too() -> None:
    assert [node.name for node in finished(square.submit(x=2)).tree().children] == ["square"]
