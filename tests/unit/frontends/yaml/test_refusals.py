"""A configuration that means nothing is refused with its file, line and key, what is wrong, and what would be right."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dagcelery import task
from dagcelery.errors import DagceleryError, InvalidConfig, InvalidDag
from dagcelery.frontends.yaml import load

from .conftest import NAMED, PLACED


def refused(text: str) -> InvalidConfig:
    Path("config.yml").write_text(text)
    with pytest.raises(InvalidConfig) as error:
        load("config.yml")
    return error.value


def changed(old: str, new: str, text: str = NAMED) -> InvalidConfig:
    assert old in text
    return refused(text.replace(old, new, 1))


@pytest.mark.usefixtures("project")
def test_an_error_names_file_line_and_key() -> None:
    error = changed("module: app.training.c", "modul: app.training.c")
    assert (error.file, error.line, error.key) == ("config.yml", 16, "workflows[0].steps[2].modul")
    assert str(error) == (
        "config.yml, line 16, workflows[0].steps[2].modul: is not a known key; did you mean 'module'?"
    )
    assert isinstance(error, InvalidDag)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("project: ML\n", "", 1, "the key 'project' is missing"),
        ("project: ML", "project: ML\nproject: LM", 2, "has the key 'project' twice, first in line 1"),
        ("function: step_fn\n", "\n", 5, "the key 'function' is missing"),
        ("- name: b", "- name: a", 10, "step 'a' is there twice"),
        ("return: [x1, x2]", "return: x1", 9, "is a text, where a list of outputs is due; write [x1]"),
        ("return: [x1, x2]", "return: [x1, x1]", 9, "output 'x1' is there twice"),
        ("return: [x1, x2]", "return: [x1, [x2]]", 9, "is a list, where a text is due"),
        ("return: [x1, x2]", "return: [x1, no]", 9, "is of type bool, where a text is due; put it into quotes"),
        ("step: [b]", "step: b", 21, "is a text, where a list of steps is due; write [b]"),
        ("step: [b]", "step: [bb]", 21, "workflow 'training' has no step 'bb'; did you mean 'b'?"),
        ("step: [b]", "step: [b], param: x", 21, "is not a known key"),
        ("step: a, param: x1", "step: e, param: x1", 19, "workflow 'training' has no step 'e'; there are"),
        ("step: a, param: x1", "step: a, param: x9", 19, "step 'a' has no output 'x9'; there are 'x1' and 'x2'"),
        ("step: a, param: x1", "step: a, var: x1", 19, "is not a known key"),
        ("step: a, param: x1", "step: a", 19, "the key 'param' is missing"),
        ("step: a, param: x1", "step: [a], param: x1", 19, "is a list, where a text is due"),
        ("step: a, param: x1", "step: b, param: x1", 19, "step 'b' has no output 'x1'; there is 'result'"),
        ("type: param, name: x2", "type: param, name: x1", 20, "parameter 'x1' is there twice"),
        (
            "type: param, name: x2",
            "type: parm, name: x2",
            20,
            "'parm' is not one of param, order; did you mean 'param'?",
        ),
        ("type: param, name: x2", "type: param", 20, "the key 'name' is missing"),
        ("type: param, name: x2", "type: param, name: y", 15, "task 'step_fn' with inputs 'x1' and 'y' cannot be"),
        ("name: training", "name: train/ing", 3, "'train/ing' is not a name; use up to 64"),
        ("name: training", "name: training\n    on_failure: ops@example.com", 4, "is a text, where a mapping is due"),
        ("name: training", "name: training\n    on_failure: {mail: ops}", 4, "'ops' is not the address of one person"),
        ("name: training", "name: training\n    on_failure: {mail: []}", 4, "names nobody"),
        ("name: training", "name: training\n    on_failure: {post: a@b}", 4, "is not a known key"),
        ("name: training", "name: training\n    schedule: hourly", 4, "'hourly' is not made of five fields"),
        ("name: training", "name: training\n    schedule: 5", 4, "is of type int, where a text is due"),
        ("name: training", 'name: training\n    schedule: "60 * * * *"', 4, "has '60', which is not a valid minute"),
        ("name: training", 'name: training\n    schedule: "5-1 * * * *"', 4, "has '5-1', which ends before it begins"),
        ("name: training", 'name: training\n    schedule: "*/0 * * * *"', 4, "has the step '0', which is not a number"),
        ("name: training", 'name: training\n    schedule: "* * ? * *"', 4, "has '?', which is not a valid day of"),
        ("name: training", "name: training\n    schedule: */5 * * * *", 4, "is not YAML"),
        ("name: training", "name: training\n    1: 2", 4, "has a key that is not a string"),
        ("name: training", "name: !!python/object:os.system training", 3, "has the tag"),
        ("name: training", "name: training\n    << : {a: b}", 4, "is not a known key"),
        ("workflows:", "workflow:", 2, "is not a known key; did you mean 'workflows'?"),
        ("module: app.training.a\n", "input: null\n", 7, "belongs to another way to write steps than the key in"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, line: int, told: str) -> None:
    error = changed(old, new)
    assert told in str(error)
    assert error.line == line


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is nothing, where a mapping is due; write project, workflows below it"),
        ("[]", "is a list, where a mapping is due"),
        ("a: b: c", "is not YAML: mapping values are not allowed here"),
        ("a: b\n---\nc: d", "is not YAML: but found another document"),
        ("project: ML\nworkflows: null", "holds no workflow"),
        ("project: ML\nworkflows: [{name: a, steps: []}]", "holds no step"),
        ("project: ML\nworkflows: [{name: a, steps: []}, {name: a, steps: []}]", "holds no step"),
        ("project: 5\nworkflows: []", "is of type int, where a text is due"),
        ("project: ' '\nworkflows: []", "is an empty text, where a text is due"),
        ("project: ML\nworkflows: [5]", "is of type int, where a mapping is due"),
        ("project: ML\nworkflows: [{name: a, steps: [5]}]", "is of type int, where a mapping is due"),
        ("project: ML\nworkflows: [{name: a, steps: [{name: s}]}]", "the key 'module' is missing"),
        ("a: *nowhere", "is not YAML: found undefined alias"),
        ("a: \x01", "is not YAML: special characters are not allowed"),
        ('a: "\\UFFFFFFFF"', "is not YAML"),
        ('a: "\\U00110000"', "is not YAML"),
    ],
)
def test_what_is_no_configuration_at_all_is_refused(text: str, told: str) -> None:
    assert told in str(refused(text))


@pytest.mark.usefixtures("project")
def test_a_circle_is_told_with_its_steps() -> None:
    error = changed("input: null", "input: [{type: start, source: {step: [d]}}]", PLACED)
    assert "nodes a -> d -> c -> a depend on each other in a cycle" in str(error)
    assert (error.line, error.key) == (3, "workflows[0]")


@pytest.mark.usefixtures("project")
def test_two_workflows_of_one_name_are_refused() -> None:
    body = NAMED.split("workflows:\n")[1]
    assert "workflow 'training' is there twice" in str(refused(NAMED + body))


# --- what would keep a reader busy ---

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "is not YAML: it is nested too deep"),
        ("{a: " * 100_000, "is not YAML: it is nested too deep"),
        ("- " * 50_000, "is not YAML: it is nested too deep"),
        ("a: " + "[" * 30 + "]" * 30, "is nested more than 20 deep"),
        ("a: &a [*a]", "is nested more than 20 deep"),
        ("a: &a\n  b: *a", "is nested more than 20 deep"),
        (BOMB, "is more than the 200,000 values that are read"),
        ("#" * 1024 * 1024 + "\na: b", "has more than 1,048,576 bytes"),
    ],
    ids=["lists", "mappings", "dashes", "deep", "self", "selves", "bomb", "huge"],
)
def test_what_would_keep_a_reader_busy_is_refused(text: str, told: str) -> None:
    assert told in str(refused(text))


def test_an_alias_is_what_it_stands_for(project: Path) -> None:
    text = NAMED.replace("dependencies: null", "dependencies: &none null", 1)
    text = text.replace("return: null", "return: *none", 1)
    (project / "config.yml").write_text(text)
    assert load("config.yml")


# --- files and dicts ---


def test_a_file_that_cannot_be_read_is_refused(project: Path) -> None:
    (project / "latin.yml").write_bytes("project: ML\nname: é".encode("latin-1"))
    for path, told in {
        "nowhere.yml": "nowhere.yml: cannot be read: No such file or directory",
        str(project): "cannot be read: Is a directory",
        "\0": "cannot be read: embedded null byte",
        "latin.yml": "latin.yml, line 2: is not UTF-8",
        "/dev/zero": "has more than 1,048,576 bytes",
    }.items():
        with pytest.raises(InvalidConfig) as error:
            load(path)
        assert told in str(error.value)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("config", "told"),
    [
        (None, "is of type NoneType; give a path, or a dict"),
        ({}, "the configuration: the key 'project' is missing"),
        ({1: 2}, "the configuration: has a key of type int"),
        ({"project": "ML", "workflows": "abc"}, "is a text, where a list of workflows is due"),
        ({"project": "ML", "workflows": "a\x1eb"}, "is a text, where a list of workflows is due; write ['a\\x1eb']"),
        ({"project": "ML", "workflows": {"a": 1}}, "is a mapping, where a list of workflows is due"),
        ({"project": b"ML", "workflows": []}, "is of type bytes, where a text is due"),
        ({"project": "ML", "workflows": [{"name": "a", "steps": {"x"}}]}, "is of type set, where a list of steps"),
    ],
)
def test_a_dict_is_refused_with_its_key(config: Any, told: str) -> None:
    with pytest.raises(InvalidConfig) as error:
        load(config)
    assert told in str(error.value)
    assert error.value.line is None


def test_a_dict_that_holds_itself_is_refused() -> None:
    config: dict[str, Any] = {"project": "ML"}
    config["workflows"] = [config]
    with pytest.raises(DagceleryError, match="is nested more than 20 deep"):
        load(config)


def test_a_dict_is_not_changed(project: Path) -> None:
    step = {"name": "s", "module": "app.training.b", "function": "step_fn", "dependencies": [], "return": ()}
    config = {"project": "ML", "workflows": [{"name": "w", "steps": [step]}]}
    before = copy.deepcopy(config)
    load(config)
    assert config == before


def test_a_step_has_no_items_that_might_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("tolerant_steps")
    module.step_fn = task(on_item_failure="skip")(lambda: 1)
    monkeypatch.setitem(sys.modules, "tolerant_steps", module)
    step = {"name": "s", "module": "tolerant_steps", "function": "step_fn", "dependencies": [], "return": []}
    with pytest.raises(InvalidConfig, match="has no effect on node 's'"):
        load({"project": "p", "workflows": [{"name": "w", "steps": [step]}]})
