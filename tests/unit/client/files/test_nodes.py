"""One node of a DAG, however deep it is nested, runs alone on inputs that are read from files."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from click.testing import CliRunner, Result

from dagcelery.cli import dag as program
from dagcelery.client import invoke_with_locations
from dagcelery.errors import DeserializationError, InvalidLocation, InvalidParameters, NodeFailed

from . import vocabulary as words

Cli = Callable[..., Result]
HERE = "unit.client.files.vocabulary"


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(program, arguments, prog_name="dagcelery")


def written(folder: Path, name: str, *values: Any, manifest: bool = True) -> Path:
    """A folder with a JSON file for each value."""
    made = folder / name
    made.mkdir()
    for at, value in enumerate(values):
        (made / str(at)).write_text(json.dumps(value))
    if manifest:
        (made / "partitions.json").write_text(json.dumps([str(at) for at in range(len(values))]))
    return made


# -- nodes, in their places ----------------------------------------------------------------------
def test_a_dag_runs_on_files_from_its_first_node_to_its_last_one_by_one(tmp_path: Path) -> None:
    n, items, squares = tmp_path / "n", tmp_path / "items", tmp_path / "squares"
    n.write_text("3")
    step = words.study
    made = {"return_value": items}
    invoke_with_locations(step, node_name="numbers", inputs={"n": n}, outputs=made)
    squares.mkdir()
    for at in range(3):
        inputs = {"x": items / str(at)}
        one = {"return_value": squares / str(at)}
        invoke_with_locations(step, {"exponent": 2}, node_name="power", inputs=inputs, outputs=one)
    assert pickle.loads((squares / "2").read_bytes()) == 4
    ends = {name: tmp_path / name for name in words.study.__dag__().nodes["bounds"].outputs}
    invoke_with_locations(step, node_name="bounds", inputs={"xs": squares}, outputs=ends)
    assert sorted(path.read_bytes() for path in ends.values()) == [msgpack.packb(0), b"4"]


def test_a_node_within_nested_dags_is_named_with_dots(tmp_path: Path) -> None:
    given = {"xs": [1, 2], "exponent": 3}
    assert invoke_with_locations(words.study, given, node_name="summed") == 513
    (tmp_path / "x").write_text("2")
    inputs = {"x": tmp_path / "x"}
    assert invoke_with_locations(words.study, {"exponent": 3}, node_name="summed.raised", inputs=inputs) == 512
    raised = words.study.__dag__().nodes["summed"].nodes["raised"]  # type: ignore[union-attr]
    assert sorted(raised.nodes) == ["power", "power-2"]  # type: ignore[union-attr]


def test_an_input_is_read_as_its_writer_writes_it(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(pickle.dumps(2))  # the first power writes with AsPickle, and the second one reads it
    inputs = {"x": tmp_path / "x"}
    assert invoke_with_locations(words.study, {"exponent": 3}, node_name="summed.raised.power-2", inputs=inputs) == 8
    (tmp_path / "xs").write_bytes(pickle.dumps([1, 2]))  # the whole DAG is serialized with AsPickle
    assert invoke_with_locations(words.pickled, node_name="total", inputs={"xs": tmp_path / "xs"}) == 3


def test_a_folder_is_a_list_in_the_order_of_its_names(tmp_path: Path) -> None:
    folder = written(tmp_path, "xs", *range(12), manifest=False)
    (folder / ".hidden").write_text("no element")
    found = invoke_with_locations(words.numbers_of, inputs={"xs": folder})
    assert found == list(range(12))
    (folder / "partitions.json").write_text('["3", "1"]')
    assert invoke_with_locations(words.numbers_of, inputs={"xs": folder}) == [3, 1]


def test_a_whole_dag_takes_files_too(tmp_path: Path) -> None:
    (tmp_path / "n").write_text("3")
    outputs = {name: tmp_path / name for name in ("items", "doubled", "sum")}
    invoke_with_locations(words.declared, inputs={"n": tmp_path / "n"}, outputs=outputs)
    assert (tmp_path / "sum").read_text() == "6"
    assert sorted(path.name for path in (tmp_path / "doubled").iterdir()) == ["0", "1", "2", "partitions.json"]


# -- names that are wrong, or missing ------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("elsewhere", "node 'elsewhere': this DAG has no node 'elsewhere'; there are 'bounds', 'numbers', 'power'"),
        ("powr", "this DAG has no node 'powr'; did you mean 'power'"),
        ("summed.totl", "node 'summed.totl': DAG 'summed' has no node 'totl'; did you mean 'total'"),
        ("power.x", "node 'power.x': 'power' is a task, which has no nodes within; name the task itself"),
        ("summed.total.x", "'summed.total' is a task"),
        ("summed..total", "DAG 'summed' has no node ''"),
    ],
)
def test_a_node_that_is_not_there_is_told_with_what_is(name: str, told: str) -> None:
    with pytest.raises(InvalidParameters) as caught:
        invoke_with_locations(words.study, node_name=name)
    assert told in str(caught.value)


def test_inputs_that_are_missing_are_told_all_at_once() -> None:
    with pytest.raises(InvalidParameters, match=r"inputs of node 'summed': missing \['xs', 'exponent'\].*--input"):
        invoke_with_locations(words.study, node_name="summed")


@pytest.mark.parametrize(("params", "told"), [({}, "did you mean 'name'"), ({"name": "Ada"}, "given twice")])
def test_an_input_that_cannot_be_is_refused(tmp_path: Path, params: dict[str, str], told: str) -> None:
    file = tmp_path / "x"
    file.write_text('"Grace"')
    with pytest.raises(InvalidParameters, match=told):
        invoke_with_locations(words.greet, params, inputs={"name" if params else "nam": file})


def test_outputs_must_be_named_all_and_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters, match=r"outputs of '.*declared'|missing \['doubled', 'sum'\]"):
        invoke_with_locations(words.declared, {"n": 1}, outputs={"items": tmp_path / "items"})
    with pytest.raises(InvalidParameters, match=r"output 'itms'.*did you mean 'items'"):
        invoke_with_locations(words.declared, {"n": 1}, outputs={"itms": tmp_path / "items"})
    assert not list(tmp_path.iterdir())


# -- files that cannot be read or written --------------------------------------------------------
def test_a_file_that_is_missing_or_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidLocation, match=r"input 'name': .*nowhere: cannot be read: No such file") as caught:
        invoke_with_locations(words.greet, inputs={"name": tmp_path / "nowhere"})
    assert isinstance(caught.value, OSError)


def test_a_file_that_holds_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{")
    with pytest.raises(DeserializationError, match=r"input 'name', which is read from .*/x,.*is not JSON"):
        invoke_with_locations(words.greet, inputs={"name": tmp_path / "x"})
    folder = written(tmp_path, "xs", 1, 2)
    (folder / "1").write_text("{")
    with pytest.raises(DeserializationError, match=r"input 'xs'\[1\], which is read from .*/xs/1,"):
        invoke_with_locations(words.numbers_of, inputs={"xs": folder})


@pytest.mark.parametrize(
    "manifest",
    ["{", "3", '["../secret"]', '["/etc/passwd"]', '[".."]', "[1]", '[""]', '["partitions.json"]', '["a\\\\b"]'],
)
def test_names_of_files_that_lead_elsewhere_are_refused(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "secret").write_text("42")
    folder = written(tmp_path, "xs", 1)
    (folder / "partitions.json").write_text(manifest)
    with pytest.raises(InvalidLocation, match=r"partitions\.json"):
        invoke_with_locations(words.numbers_of, inputs={"xs": folder})


def test_a_name_without_its_file_is_told(tmp_path: Path) -> None:
    folder = written(tmp_path, "xs", 1, 2)
    (folder / "1").unlink()
    with pytest.raises(InvalidLocation, match=r"input 'xs'\[1\]: .*/xs/1: cannot be read: No such file"):
        invoke_with_locations(words.numbers_of, inputs={"xs": folder})


def test_a_file_whose_place_in_the_list_nobody_knows_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, "xs", 1, manifest=False)
    (folder / "last").write_text("2")
    with pytest.raises(InvalidLocation, match=r"/xs/last: is not named by a number.*partitions\.json"):
        invoke_with_locations(words.numbers_of, inputs={"xs": folder})


def test_a_place_for_an_output_that_cannot_be_is_refused_before_anything_runs(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    (tmp_path / "loose").symlink_to(tmp_path / "nowhere")
    for place, told in [
        (taken, "is there already"),
        (tmp_path / "loose", "is there already"),
        (tmp_path / "no" / "out", "no is not a folder; make it first"),
        (taken / "out", "taken is not a folder"),
    ]:
        with pytest.raises(InvalidLocation, match=f"output 'return_value': .*{told}"):
            invoke_with_locations(words.greet, {"name": "Ada"}, outputs={"return_value": place})
    assert taken.read_text() == "mine"


@pytest.mark.parametrize("place", [3, None, "", "a\0b", b"bytes"])
@pytest.mark.parametrize("way", ["inputs", "outputs"])
def test_what_is_no_path_is_refused(place: Any, way: str) -> None:
    given: dict[str, Any] = {way: {"name" if way == "inputs" else "return_value": place}}
    with pytest.raises(InvalidLocation, match=f"{way[:-1]} '.*': .* is not a path; give a str or a Path"):
        invoke_with_locations(words.greet, {} if way == "inputs" else {"name": "Ada"}, **given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"inputs": ["name"]}, "inputs=.*does not say where each input is; give a mapping"),
        ({"outputs": "out"}, "outputs='out': does not say where each output is; give a mapping"),
        ({"node_name": 3}, "node_name=3: is not a str"),
    ],
)
def test_what_names_no_inputs_or_outputs_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidParameters, match=told):
        invoke_with_locations(words.greet, **given)


def test_where_a_node_fails_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "n").write_text('"many"')
    with pytest.raises(NodeFailed, match="numbers"):
        invoke_with_locations(
            words.study, node_name="numbers", inputs={"n": tmp_path / "n"}, outputs={"return_value": tmp_path / "out"}
        )
    assert [path.name for path in tmp_path.iterdir()] == ["n"]


# -- the command line ----------------------------------------------------------------------------
def test_the_command_line_runs_a_node_from_files_to_files(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "n").write_text("3")
    result = cli(
        "invoke", f"{HERE}:study", "--node-name", "numbers", "--input", "n=n", "--output", "return_value=items"
    )
    assert (result.exit_code, result.output) == (0, "")
    assert sorted(os.listdir("items")) == ["0", "1", "2", "partitions.json"]
    result = cli("invoke", f"{HERE}:study", "--node-name", "summed", "--input", "xs=items", "-p", "exponent=2")
    assert (result.exit_code, result.stdout) == (0, "17\n")


def test_a_parameter_of_a_node_is_read_by_its_own_annotation(cli: Cli) -> None:
    result = cli("invoke", f"{HERE}:greet", "--node-name", "greeting", "-p", "name=Ada")
    assert result.stdout == '"hello, Ada"\n'


def test_a_node_of_a_dag_with_static_parameters_needs_them_first(cli: Cli) -> None:
    result = cli("invoke", f"{HERE}:folded", "--node-name", "numbers-2", "-p", "folds=2", "-p", "n=2")
    assert result.stdout == "[0, 1]\n"


def test_the_command_line_tells_what_is_wrong_in_one_sentence(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")
    for arguments, told in [
        (["--node-name", "greting"], "did you mean 'greeting'?"),
        (["--node-name", "greeting"], "missing ['name']"),
        (["--input", "name=nowhere"], "input 'name': nowhere: cannot be read"),
        (["-p", "name=Ada", "--output", "return_value=there"], "output 'return_value': there: is there already"),
        (["-p", "name=Ada", "--output", "x=y"], "output 'x'"),
    ]:
        result = cli("invoke", f"{HERE}:greet", *arguments)
        assert result.exit_code == 1, result.output
        (line,) = result.stderr.splitlines()
        assert told in line


@pytest.mark.parametrize("pairs", [["--input", "name"], ["--input", "=x"], ["--output", "x="]])
def test_a_pair_without_a_name_or_a_file_is_no_command_line(cli: Cli, pairs: list[str]) -> None:
    result = cli("invoke", f"{HERE}:greet", *pairs)
    assert result.exit_code == 2
    assert "write NAME=FILE" in result.stderr


def test_an_input_is_given_once(cli: Cli) -> None:
    result = cli("invoke", f"{HERE}:greet", "--input", "name=a", "--input", "name=b")
    assert (result.exit_code, "given twice" in result.stderr) == (2, True)
