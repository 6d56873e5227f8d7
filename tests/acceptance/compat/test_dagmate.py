"""`dagcelery.compat.dagmate`: one class; what the two dialects mean is tested with the workflows."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dagcelery import submit
from dagcelery.compat.dagmate.core import Dagmate
from dagcelery.errors import InvalidConfig
from dagcelery.local import Cluster

CONFIG = {
    "project": "p",
    "workflows": [
        {
            "name": name,
            "steps": [{"name": "here", "module": "os", "function": "getcwd", "dependencies": None, "return": ["path"]}],
        }
        for name in ("one", "two")
    ],
}


@pytest.mark.parametrize("kind", ["config", "config_file"])
def test_a_dict_or_a_file_gives_its_workflows_by_name(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text(json.dumps(CONFIG))
    mate = Dagmate(config=CONFIG) if kind == "config" else Dagmate(config_file=str(file))
    assert mate.workflows == {}
    assert mate.config == CONFIG
    assert list(mate.activate()) == list(mate.workflows) == ["one", "two"]
    assert mate.workflows["one"]() == {"here": {"path": str(Path.cwd())}}


def make() -> Any:
    return SimpleNamespace(numbers={1, 2})


def step_fn(df: Any) -> Any:
    df.numbers.add(3)
    return df


def test_steps_hand_objects_to_each_other(cluster: Cluster) -> None:
    source = {"type": "param", "name": "df", "source": {"step": "make", "param": "df"}}
    steps = [
        {"name": "make", "module": __name__, "function": "make", "dependencies": None, "return": ["df"]},
        {"name": "use", "module": __name__, "function": "step_fn", "dependencies": [source], "return": ["df"]},
    ]
    mate = Dagmate(config={"project": "p", "workflows": [{"name": "w", "steps": steps, "schedule": "* * * * *"}]})
    workflow = mate.activate()["w"]
    expected = {"use": {"df": SimpleNamespace(numbers={1, 2, 3})}}
    assert workflow() == expected
    assert submit(workflow).result(timeout=30) == expected


@pytest.mark.parametrize(
    ("given", "told", "kind"),
    [
        ({}, "got none", AssertionError),
        ({"config_file": "a", "config": {}}, "got two", AssertionError),
        ({"config_file": "missing.yml"}, r"missing\.yml: does not exist", FileNotFoundError),
    ],
)
def test_one_configuration_is_due(given: dict[str, Any], told: str, kind: type[Exception]) -> None:
    with pytest.raises(InvalidConfig, match=told) as caught:
        Dagmate(**given)
    assert isinstance(caught.value, kind)
