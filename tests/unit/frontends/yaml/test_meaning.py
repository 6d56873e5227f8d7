"""Both dialects say the same: which steps there are, what they take, and what they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagcelery import invoke
from dagcelery.frontends.yaml import ConfiguredWorkflow, load
from dagcelery.hooks import mail
from dagcelery.model import DAG, Task

from .conftest import NAMED, PLACED


def only(text: str) -> ConfiguredWorkflow:
    Path("config.yml").write_text(text)
    (workflow,) = load("config.yml")
    return workflow


def as_dict() -> dict[str, Any]:
    """The shortest configuration there is, as a dict."""
    step = {"name": "d", "module": "app.training.a", "function": "step_fn", "dependencies": None, "return": None}
    return {"project": "ML", "workflows": [{"name": "w", "steps": [step]}]}


def node(workflow: ConfiguredWorkflow, name: str) -> Task:
    found = workflow.dag.nodes[name]
    assert isinstance(found, Task)
    return found


@pytest.mark.usefixtures("project")
def test_a_workflow_returns_what_no_step_takes() -> None:
    assert invoke(only(PLACED)) == {"c": {"x5": 12}, "d": {"x6": -7}}
    assert only(NAMED)() == {"c": {"x4": 7, "x5": 12}}


@pytest.mark.usefixtures("project")
def test_a_workflow_is_a_dag_with_the_names_of_its_project_and_itself() -> None:
    workflow = only(NAMED)
    assert workflow.__dag__() is workflow.dag
    assert isinstance(workflow.dag, DAG)
    assert workflow.dag.name == "ML:training"
    assert workflow.name == "training"
    assert workflow.dag.node_execution_order == [{"a", "b"}, {"c"}]


@pytest.mark.usefixtures("project")
def test_an_order_carries_no_value() -> None:
    step = node(only(NAMED), "c")
    assert step.after == ("b",)
    assert set(step.inputs) == {"x1", "x2"}


@pytest.mark.usefixtures("project")
def test_the_function_of_a_placed_step_is_found_by_project_workflow_and_step() -> None:
    func = node(only(PLACED), "d").func
    assert (func.__module__, func.__name__) == ("app.training.d", "step_fn")


@pytest.mark.usefixtures("project")
def test_one_output_is_the_whole_returned_value_even_if_it_is_a_tuple() -> None:
    config = as_dict()
    config["workflows"][0]["steps"][0]["return"] = ["both"]
    (workflow,) = load(config)
    assert invoke(workflow) == {"d": {"both": [3, 4]}}


@pytest.mark.usefixtures("project")
def test_what_a_step_without_outputs_returns_is_not_kept_unless_a_step_takes_it() -> None:
    config = as_dict()
    (workflow,) = load(config)
    assert dict(node(workflow, "d").outputs) == {}
    assert invoke(workflow) == {}
    taker = {"name": "e", "module": "app.training.d", "function": "step_fn", "return": ["x"]}
    taker["dependencies"] = [{"type": "param", "name": "x5", "source": {"step": "b", "param": "result"}}]
    (Path("app") / "training" / "five.py").write_text("def step_fn(): return 5")
    giver = config["workflows"][0]["steps"][0] | {"name": "b", "module": "app.training.five"}
    config["workflows"][0]["steps"] = [giver, taker]
    (workflow,) = load(config)
    assert invoke(workflow) == {"e": {"x": -5}}


@pytest.mark.usefixtures("project")
def test_a_file_holds_several_workflows_in_order() -> None:
    config = as_dict()
    config["workflows"].append(config["workflows"][0] | {"name": "v"})
    assert [workflow.name for workflow in load(config)] == ["w", "v"]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("*/5 * * * *", "*/5 * * * *"),
        ("  0   9-17/2 1,15 jan-MAR mon ", "0 9-17/2 1,15 jan-MAR mon"),
        ("59 23 31 12 7", "59 23 31 12 7"),
        (None, None),
    ],
)
def test_a_schedule_is_kept_with_its_workflow(written: str | None, kept: str | None) -> None:
    config = as_dict()
    config["workflows"][0]["schedule"] = written
    assert load(config)[0].schedule == kept


@pytest.mark.usefixtures("project")
def test_a_schedule_may_be_left_out() -> None:
    assert load(as_dict())[0].schedule is None


@pytest.mark.usefixtures("project")
def test_a_mail_may_be_sent_at_its_end() -> None:
    config = as_dict()
    config["workflows"][0] |= {"on_failure": {"mail": "a@b.example"}, "on_success": {"mail": ["a@b.example", "c@d"]}}
    options = load(config)[0].dag.options
    assert repr(options.on_failure) == repr(mail("a@b.example"))
    assert repr(options.on_success) == repr(mail(["a@b.example", "c@d"]))
