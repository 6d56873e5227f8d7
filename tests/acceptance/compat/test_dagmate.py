"""`dagcelery.compat.dagmate`: one class; what the two dialects mean is tested with the workflows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dagcelery.compat.dagmate import Dagmate
from dagcelery.errors import InvalidConfig

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
    assert list(mate.activate()) == list(mate.workflows) == ["one", "two"]
    assert mate.workflows["one"]() == {"here": {"path": str(Path.cwd())}}


@pytest.mark.parametrize(("given", "told"), [({}, "got none"), ({"config_file": "a", "config": {}}, "got two")])
def test_one_configuration_is_due(given: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        Dagmate(**given)  # type: ignore[arg-type]
