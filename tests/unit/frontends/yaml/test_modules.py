"""Functions are found in modules by name, from several folders, and in files by path."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from dagcelery.errors import InvalidConfig, NotConfigured
from dagcelery.frontends.yaml import load
from dagcelery.model import Task

from .conftest import NAMED


def config(module: str, function: str = "step_fn") -> dict[str, Any]:
    step = {"name": "s", "module": module, "function": function, "dependencies": None, "return": None}
    return {"project": "ML", "workflows": [{"name": "w", "steps": [step]}]}


def task(module: str, function: str = "step_fn") -> Task:
    found = load(config(module, function))[0].dag.nodes["s"]
    assert isinstance(found, Task)
    return found


def refusal(module: str, function: str = "step_fn") -> str:
    with pytest.raises(InvalidConfig) as refused:
        load(config(module, function))
    return str(refused.value)


def test_a_file_is_one_module_however_its_path_is_written(project: Path) -> None:
    (project / "once.py").write_text("def step_fn(): pass")
    first, second = task("./once.py"), task(str(project / "once.py"))
    assert first.func is second.func
    assert sys.modules[first.func.__module__].__file__ == str(project / "once.py")


def test_functions_of_a_file_travel_by_value(project: Path) -> None:
    (project / "once.py").write_text("def step_fn(): pass")
    found = task("once.py")
    assert found.options.by_value == (found.func.__module__,)


def test_two_files_of_one_name_are_two_modules(project: Path) -> None:
    for folder in ("x", "y"):
        (project / folder).mkdir()
        (project / folder / "same.py").write_text(f"def step_fn(): return {folder!r}")
    assert [task(f"./{folder}/same.py").func() for folder in ("x", "y")] == ["x", "y"]


def test_options_of_a_decorated_function_hold(project: Path) -> None:
    text = "from dagcelery import task\n\n@task(taint='gpu')\ndef step_fn(): return 1\n"
    (project / "app" / "fast.py").write_text(text)
    (project / "fast.py").write_text(text)
    assert task("app.fast").options.taints == ("gpu",)
    assert task("./fast.py").options.taints == ("gpu",)
    assert task("./fast.py").options.by_value


def test_modules_are_found_beside_the_configuration_and_above_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (project / "conf").mkdir()
    (project / "conf" / "config.yml").write_text(NAMED)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert [workflow.name for workflow in load(project / "conf" / "config.yml")] == ["training"]


def test_a_root_is_the_only_place_then(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (project / "config.yml").write_text(NAMED.replace("app.training.", "app.").replace("./app", "./elsewhere"))
    with pytest.raises(InvalidConfig, match="does not exist"):
        load("config.yml", root=tmp_path_factory.mktemp("elsewhere"))


def test_a_module_of_the_same_name_from_elsewhere_is_not_taken(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    for folder in (project, other):
        (folder / "app").mkdir(exist_ok=True)
        (folder / "app" / "__init__.py").touch()
        (folder / "app" / "one.py").write_text("def step_fn(): pass")
    load(config("app.one"), root=project)
    with pytest.raises(InvalidConfig, match=r"was imported from .* before"):
        load(config("app.one"), root=other)


def test_what_is_wrong_with_a_module_is_told(project: Path) -> None:
    (project / "broken.py").write_text("raise SystemExit('not\\ntoday')")
    (project / "needy.py").write_text("import nothing_of_this_name")
    told = "the configuration, workflows[0].steps[0].module"
    assert refusal("broken") == (
        f"{told}: module 'broken' cannot be imported: SystemExit: not today ({project / 'broken.py'}, line 1); "
        "repair it, then try again"
    )
    assert refusal("./broken.py") == refusal("broken").replace("'broken'", "'./broken.py'")
    assert "cannot be imported: ModuleNotFoundError: No module named 'nothing_of_this_name'" in refusal("needy")
    assert f"put it below {project}, or on Python's path" in refusal("app.nowhere")
    assert "'a b' is not a module" in refusal("a b")
    assert "the file './nowhere.py' does not exist" in refusal("./nowhere.py")
    assert "the file './app' does not exist" in refusal("./app")
    assert "does not exist" in refusal(f"./{'x' * 5000}.py")
    assert "does not exist" in refusal("./\0.py")


@pytest.mark.usefixtures("project")
def test_what_is_wrong_with_a_function_is_told(project: Path) -> None:
    (project / "some.py").write_text("def training(): pass\nnumber = 3\ndef step(x): pass")
    told = "the configuration, workflows[0].steps[0]"
    assert refusal("some", "trainin") == f"{told}.function: module 'some' has no 'trainin'; did you mean 'training'?"
    assert "'number' of module 'some' is not a function" in refusal("some", "number")
    assert refusal("some", "step").startswith(f"{told}: task 'step' with no inputs cannot be called: missing")


def test_a_module_that_failed_is_tried_again(project: Path) -> None:
    (project / "late.py").write_text("raise ValueError")
    refusal("./late.py")
    (project / "late.py").write_text("def step_fn(): pass")
    assert task("./late.py")


@pytest.mark.usefixtures("project")
def test_without_pyyaml_a_file_cannot_be_read_and_a_dict_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    Path("config.yml").write_text(NAMED)
    with pytest.raises(NotConfigured, match=r"needs PyYAML.*pip install 'dagcelery\[yaml\]'"):
        load("config.yml")
    assert load(config("app.training.b"))
