"""`dagcelery.compat.dagmate`: one class; what the two dialects mean is tested with the workflows."""

from __future__ import annotations

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


def test_a_dict_gives_its_workflows_by_name() -> None:
    mate = Dagmate(config=CONFIG)
    assert mate.workflows == {}
    assert list(mate.activate()) == list(mate.workflows) == ["one", "two"]
    assert mate.workflows["one"]() == {"here": {"path": str(Path.cwd())}}


@pytest.mark.parametrize(("given", "told"), [({}, "got none"), ({"config_file": "a", "config": {}}, "got two")])
def test_one_configuration_is_due(given: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        Dagmate(**given)  # type: ignore[arg-type]
