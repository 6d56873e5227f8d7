"""``dagcelery config`` checks a file, and runs one of its workflows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dagcelery.cli import dag
from dagcelery.local import Cluster

from .conftest import NAMED, PLACED

pytestmark = pytest.mark.usefixtures("project")


def cli(*arguments: str) -> Result:
    return CliRunner().invoke(dag, ["config", *arguments], prog_name="dagcelery")


@pytest.fixture
def file() -> str:
    Path("config.yml").write_text(PLACED)
    return "config.yml"


@pytest.fixture
def several() -> str:
    Path("several.yml").write_text(NAMED + NAMED.split("workflows:\n")[1].replace("name: training", "name: other"))
    return "several.yml"


def test_check_shows_each_workflow_with_its_schedule(file: str, several: str) -> None:
    result = cli("check", file)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "training, due at */1 * * * *",
        "app:training()",
        "├── a",
        "├── b",
        "├── c <- a.x1, a.x2, after b",
        "└── d <- c.x4",
    ]
    assert "other, without a schedule" in cli("check", several).stdout


def test_check_says_what_is_wrong_in_one_sentence(file: str) -> None:
    Path(file).write_text(PLACED.replace("output: [x6]", "outputs: [x6]"))
    result = cli("check", file)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert "config.yml, line 21, workflows[0].steps[3].outputs: is not a known key" in line
    assert cli("check", "nowhere.yml").stderr == (
        "Error: nowhere.yml: cannot be read: No such file or directory; give the path of a YAML file\n"
    )


def test_run_prints_the_result_of_the_only_workflow(file: str) -> None:
    result = cli("run", file, "--local", "1")
    assert json.loads(result.stdout) == {"c": {"x5": 12}, "d": {"x6": -7}}


def test_run_takes_the_options_of_any_run(several: str, cluster: Cluster) -> None:
    # Workers of the session were started elsewhere: only functions that travel by value reach them.
    text = Path(several).read_text()
    for name in "ac":
        text = text.replace(f"app.training.{name}", f"./app/training/{name}.py")
    Path(several).write_text(text)
    told = json.loads(cli("run", several, "other", "--json", "--watch", "--timeout", "60").stdout)
    assert told["state"] == "done"
    assert told["result"] == {"c": {"x4": 7, "x5": 12}}


def test_run_asks_for_the_name_of_a_workflow(several: str) -> None:
    result = cli("run", several)
    assert result.exit_code == 2
    assert "name one of training, other" in result.stderr
    assert "the file has no workflow 'othr'; did you mean 'other'?" in cli("run", several, "othr").stderr
