"""`dagcelery.compat.dagger.runtime`: outputs as files, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dagcelery.compat.dagger import FromParam, FromReturnValue, Task, dsl
from dagcelery.compat.dagger.runtime import cli
from dagcelery.compat.dagger.runtime.local import OutputFile, PartitionedOutput, StoreSerializedOutputsInPath, invoke


@dsl.task
def numbers(n: int) -> list[int]:
    return list(range(n))


@dsl.task
def double(x: int) -> int:
    return 2 * x


@dsl.task
def total(xs: list[int]) -> int:
    return sum(xs)


@dsl.DAG
def inner(n: int) -> int:
    return total([double(x) for x in numbers(n)])


@dsl.DAG
def outer(n: int) -> dict[str, int]:
    return {"one": inner(n), "all": numbers(n)}


dag = dsl.build(outer)


def test_outputs_are_stored_in_a_folder(tmp_path: Path) -> None:
    found = invoke(dag, {"n": 3}, outputs=StoreSerializedOutputsInPath(str(tmp_path)))
    assert isinstance(found["key_one"], OutputFile)
    assert Path(found["key_one"].filename) == tmp_path / "nodes/inner/0/nodes/total/0/return_value"
    assert Path(found["key_one"].filename).read_bytes() == b"6"
    assert (tmp_path / "nodes/numbers/0/return_value").read_bytes() == b"[0, 1, 2]"
    each = [(tmp_path / f"nodes/inner/0/nodes/double/{at}/return_value").read_bytes() for at in range(3)]
    assert each == [b"0", b"2", b"4"]


def test_a_partitioned_output_is_stored_by_element(tmp_path: Path) -> None:
    task = Task(numbers.fn, {"n": FromParam()}, {"all": FromReturnValue(is_partitioned=True)})
    found = invoke(task, {"n": 3}, outputs=StoreSerializedOutputsInPath(str(tmp_path)))
    assert isinstance(found["all"], PartitionedOutput)
    assert [json.loads(Path(each.filename).read_text()) for each in found["all"]] == [0, 1, 2]


def test_the_command_line_runs_a_dag(tmp_path: Path) -> None:
    (tmp_path / "n").write_text("4")
    outputs = ["--output", "key_one", str(tmp_path / "a"), "--output", "key_all", str(tmp_path / "b")]
    cli.invoke(dag, argv=["--input", "n", str(tmp_path / "n"), *outputs])
    assert [json.loads((tmp_path / name).read_text()) for name in "ab"] == [12, [0, 1, 2, 3]]


def test_the_command_line_runs_a_nested_node_with_lists_as_folders(tmp_path: Path) -> None:
    (tmp_path / "n").write_text("4")
    arguments = ["--node-name", "inner.numbers", "--input", "n", str(tmp_path / "n")]
    cli.invoke(dag, [*arguments, "--output", "return_value", str(tmp_path / "numbers")])
    assert json.loads((tmp_path / "numbers" / cli.PARTITION_MANIFEST_FILENAME).read_text()) == ["0", "1", "2", "3"]
    arguments = ["--node-name", "inner.total", "--input", "xs", str(tmp_path / "numbers")]
    cli.invoke(dag, [*arguments, "--output", "return_value", str(tmp_path / "total")])
    assert json.loads((tmp_path / "total").read_text()) == 6


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        ("--node-name nothing", ValueError, "You selected node 'nothing'"),
        ("--node-name inner.total.more", ValueError, "does not contain any other nodes"),
        ("--output key_one a --output key_all b", ValueError, "an input named 'n'"),
        ("--input n n", ValueError, "an output named 'key_one'"),
        ("--input n gone --output key_one a --output key_all b", OSError, "gone"),
        ("--input n n --output key_one n --output key_all b", OSError, "n"),
    ],
    ids=["33", "33 of a task", "34", "34 of outputs", "35", "35 of outputs"],
)
def test_what_is_wrong_on_the_command_line(
    words: str, kind: type[Exception], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("n").write_text("4")
    with pytest.raises(kind, match=told):
        cli.invoke(dag, words.split())
    assert [path.name for path in tmp_path.iterdir()] == ["n"]


def test_errors_of_tasks_are_as_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("n").write_text('"text"')
    with pytest.raises(TypeError, match=r"Error when invoking node 'inner'. Error when invoking node 'numbers'"):
        cli.invoke(dag, ["--input", "n", "n", "--output", "key_one", "a", "--output", "key_all", "b"])


def test_the_command_line_is_by_default_that_of_the_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"from {__name__} import dag\nfrom dagcelery.compat.dagger.runtime import cli\ncli.invoke(dag)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(program), "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert "--node-name" in done.stdout, done.stderr


def test_the_command_line_gives_outputs_of_a_nested_dag_that_nothing_reads(tmp_path: Path) -> None:
    @dsl.DAG
    def unread(n: int) -> None:
        inner(n)

    (tmp_path / "n").write_text("3")
    arguments = ["--node-name", "inner", "--input", "n", str(tmp_path / "n")]
    cli.invoke(dsl.build(unread), [*arguments, "--output", "return_value", str(tmp_path / "out")])
    assert (tmp_path / "out").read_bytes() == b"6"
