"""Tables and texts of the documents name what there is, and all of it."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from checkout import ROOT
from dagcelery import errors
from dagcelery.cli import dag

from .reading import DOCUMENTS


def test_the_table_of_examples_is_complete() -> None:
    text = (ROOT / "docs" / "examples.md").read_text()
    for path in (ROOT / "examples").glob("*.py"):
        assert f"`{path.name}`" in text, path.name


def test_the_page_of_an_error_is_where_its_traceback_says() -> None:
    (note,) = errors.KeyReused("key 'a'", "belongs to another run", "choose another one").__notes__
    with (ROOT / "pyproject.toml").open("rb") as file:
        site = tomllib.load(file)["project"]["urls"]["Documentation"]
    assert note == f"See {site}reference/errors/#keyreused"


def test_every_verb_every_extra_and_every_folder_of_tests_is_named() -> None:
    changes, readme, guide = ((ROOT / f"{name}.md").read_text() for name in ("CHANGELOG", "README", "CONTRIBUTING"))
    verbs = re.search(r"The command line: `dagcelery (.*?)\.\n", changes, re.S)
    assert verbs is not None
    assert set(re.findall(r"\w+", verbs[1])) == set(dag.commands)
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"].keys() - {"dev", "docs", "bench", "bench-peers"}
    assert [extra for extra in extras if not re.search(rf"dagcelery\[{extra}\]|`{extra}`", readme)] == []
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    assert [name for name in folders if f"`tests/{name}`" not in guide] == []


def test_errors_and_actions_of_log_lines_that_documents_list_are_there() -> None:
    told = (ROOT / "docs" / "reference" / "errors.md").read_text().partition("All errors derive from")[2]
    named = set(re.findall(r"`([A-Z]\w+)`", told))
    assert {"NodeFailed", "CodeUnknown", "NotSent"} <= named
    assert [name for name in named if not hasattr(errors, name)] == []
    text = (ROOT / "docs" / "howto" / "logs.md").read_text()
    table = re.findall(r"^\| (?:ERROR|WARNING|INFO) \|.*\| (.*) \|$", text, re.M)
    actions = {action for cell in table for action in re.findall(r"`(\w+)`", cell)}
    source = "".join(path.read_text() for path in (ROOT / "dagcelery").rglob("*.py"))
    assert actions
    assert [action for action in actions if f'"action": "{action}"' not in source] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_are_there(document: Path) -> None:
    for name in re.findall(r"`([\w/]+/[\w/.]*|[A-Z]+\.md)`", document.read_text()):
        assert (ROOT / name).exists() or (ROOT / "dagcelery" / name).exists(), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_modules_names_and_headings_that_a_document_names_are_there(document: Path) -> None:
    text = document.read_text()
    for name in re.findall(r"`(dagcelery(?:\.\w+)+)", text):
        module = name
        while not find_spec(module):
            module = module.rpartition(".")[0]
        assert name == module or hasattr(import_module(module), name.removeprefix(f"{module}.")), name
    headings = {
        re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in re.findall(r"^##+ (.*)$", text, re.M)
    }
    assert [anchor for anchor in re.findall(r"\]\(#([\w-]+)\)", text) if anchor not in headings] == []
    for target in re.findall(r"\]\(([\w/.]+)\)", text):
        assert (document.parent / target).exists(), target


def test_the_glossary_is_in_order_and_has_the_words_that_it_uses() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| (.+) \|$", text, re.M)[1:]
    words = [word for word, _ in rows]
    assert words == sorted(words, key=str.lower)
    used = {used for _, meaning in rows for used in re.findall(r"\*([\w'-]+(?: \w+)?)\*", meaning)}
    assert used
    assert [
        each for each in used if each.removesuffix("'s").removesuffix("s").lower() not in map(str.lower, words)
    ] == []
