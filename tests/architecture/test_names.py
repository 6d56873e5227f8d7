"""Modules and what others use of them say in a sentence what they are, and no module is a drawer for odds and ends."""

from __future__ import annotations

import ast

import pytest
from celery import Celery

import dagcelery

from .source import PACKAGE, Module, modules

DRAWERS = {"util", "utils", "common", "helper", "helpers", "misc", "lib", "tools"}

PUBLIC = {
    "filed": ["ReturnDeserializedOutputs", "StoreSerializedOutputsInPath"],
    "declared": ["DAG", "Task", "FromParam", "FromNodeOutput", "FromReturnValue", "FromKey", "FromProperty"],
    "decorated": ["task", "dag", "when", "build", "TaskFunction", "DagFunction", "current"],
    "dynamic": ["Workflow", "register_definition"],
    "stages": ["stage", "Stage", "RedisStage", "DiskCacheStage", "Pipeline"],
    "run": ["invoke", "submit", "asubmit", "attach", "Run", "RunState", "errors"],
    "watched": [
        "runs",
        "aruns",
        "RunSummary",
        "RunEvent",
        "RunStatus",
        "NodeStatus",
        "TreeNode",
        "RunGraph",
        "Preview",
    ],
    "durable": ["Cache", "Retry", "Timeout", "Wait", "exponential", "static"],
    "serialized": ["AsJSON", "AsPickle", "Serialize", "Serializer"],
    "tabled": ["AsArrow", "AsAvro", "AsCSV", "AsDill", "AsMessagePack", "AsParquet"],
}


@pytest.fixture(scope="module")
def used() -> set[str]:
    """The dotted names that modules of the package import of each other, and those that users import."""
    by_others = {name for module in modules() for name in module.imports() if name.startswith("dagcelery.")}
    by_users = {getattr(dagcelery, name) for names in PUBLIC.values() for name in names if name != "errors"}
    return by_others | {f"{found.__module__}.{found.__qualname__}" for found in by_users}


def opening(module: Module) -> str:
    return (ast.get_docstring(module.tree) or "").partition("\n\n")[0]


def test_a_module_opens_with_a_sentence() -> None:
    with_text = [module for module in modules() if module.text.strip()]
    assert not [module.name for module in with_text if not opening(module).endswith((".", ":"))]


def test_what_others_use_says_what_it_is(used: set[str]) -> None:
    definitions = [(module, name) for module in modules() for name in module.definitions()]
    public = [(module, name) for module, name in definitions if f"{module.dotted}.{name.partition('.')[0]}" in used]
    assert not [f"{module.name}: {name}" for module, name in public if not module.docstring(name)]


def test_no_module_is_a_drawer() -> None:
    assert not [module.name for module in modules() if DRAWERS & set(module.name.split("/"))]


@pytest.mark.parametrize("name", [name for names in PUBLIC.values() for name in names])
def test_a_public_name_is_found_on_the_package(name: str) -> None:
    assert name in dagcelery.__all__
    assert name in dir(dagcelery)
    assert getattr(dagcelery, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'dagcelery' has no attribute 'tusk'"):
        getattr(dagcelery, "tusk")  # noqa: B009


def test_celery_finds_the_app_on_the_package() -> None:
    assert isinstance(dagcelery.app, Celery)


def test_type_checkers_may_read_the_package() -> None:
    assert (PACKAGE / "py.typed").exists()
