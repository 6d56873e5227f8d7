"""A child that a task forks, and that comes back from the task, ends there: the piece is its parent's."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dagcelery import Retry, dag, invoke, task

from .worlds import World

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

CODES: list[int] = []


def fork(notes: str) -> bool:
    """Fork; in the parent wait for the child's end, and note how it ended. Whether this is the child."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        CODES.append(os.waitstatus_to_exitcode(status))
        with Path(notes).open("a") as file:
            file.write("parent\n")
    return child == 0


@task
def returns(notes: str) -> str:
    return "child" if fork(notes) else "parent"


@task(retry=Retry(3, wait=0))
def raises(notes: str) -> str:
    if fork(notes):
        raise ValueError("of the child")
    return "parent"


@task
def exits(notes: str) -> str:
    if fork(notes):
        sys.exit(7)
    return "parent"


@task
async def awaits(notes: str) -> str:
    is_child = fork(notes)
    if not is_child:
        await asyncio.sleep(0)
    return "child" if is_child else "parent"


@task
def generates(notes: str) -> Any:
    def parts() -> Iterator[str]:
        yield "child" if fork(notes) else "parent"

    return parts()


@task
def first(xs: list[str]) -> str:
    (found,) = xs
    return found


@task
def same(x: str) -> str:
    return x


@dag
def generated(notes: str) -> str:
    return first([same(x) for x in generates(notes)])


@dag
def items(notes: list[str]) -> list[str]:
    return [returns(each) for each in notes]


@pytest.fixture(autouse=True)
def _no_codes() -> None:
    CODES.clear()


@pytest.mark.parametrize(
    ("node", "code"),
    [(returns, 0), (raises, 1), (exits, 7), (awaits, 0), (generated, 0)],
    ids=["returns", "raises", "exits", "awaits", "generates"],
)
def test_the_parent_s_outcome_is_the_piece_s(node: Any, code: int, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    assert invoke(node, {"notes": str(notes)}) == "parent"
    assert World().run(node, notes=str(notes)) == "parent"
    assert code == CODES[0] == CODES[1]
    assert notes.read_text() == "parent\n" * 2


def test_a_child_goes_on_with_no_other_item(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    assert invoke(items, {"notes": [str(notes)] * 3}) == ["parent"] * 3
    assert notes.read_text() == "parent\n" * 3


def _put(connection: Any) -> None:
    connection.send(os.getpid())


@task
def starts_a_process() -> bool:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_put, args=(there,))
    process.start()
    other = here.recv()
    process.join()
    return bool(other != os.getpid() and process.exitcode == 0)


def test_a_process_of_multiprocessing_is_none_of_that() -> None:
    assert invoke(starts_a_process) is True
