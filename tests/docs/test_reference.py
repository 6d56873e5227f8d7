"""The reference is made of the package, and misses nothing of it: neither a name, nor what a name means."""

from __future__ import annotations

import re
import runpy
from typing import Any

import pytest

import dagcelery
from checkout import ROOT
from dagcelery import DagFunction, TaskFunction, dag, errors, task
from dagcelery.model.options import DAG_MEANINGS, TASK_MEANINGS, DagKeywords, DagUse, TaskKeywords, TaskUse

DOCS = ROOT / "docs"


@pytest.mark.parametrize(
    ("lines", "kinds"), [(TASK_MEANINGS, (TaskKeywords, TaskUse)), (DAG_MEANINGS, (DagKeywords, DagUse))]
)
def test_each_option_has_a_line_that_says_what_it_means(lines: dict[str, str], kinds: tuple[Any, ...]) -> None:
    assert lines.keys() == {name for kind in kinds for name in kind.__annotations__}


@pytest.mark.parametrize(
    ("function", "kind", "lines"),
    [
        (task, TaskKeywords, TASK_MEANINGS),
        (TaskFunction.options, TaskUse, TASK_MEANINGS),
        (dag, DagKeywords, DAG_MEANINGS),
        (DagFunction.options, DagUse, DAG_MEANINGS),
    ],
)
def test_help_lists_the_options_that_a_function_takes_and_no_others(
    function: Any, kind: Any, lines: dict[str, str]
) -> None:
    listed = dict(re.findall(r"^ *- `(\w+)`: (.*)$", function.__doc__, re.M))
    assert listed == {name: lines[name] for name in kind.__annotations__}


def test_the_page_of_errors_says_of_each_what_to_do() -> None:
    remedies = runpy.run_path(str(DOCS / "_ext" / "remedies.py"))["REMEDIES"]
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    public = {kind for kind in kinds if issubclass(kind, errors.DagceleryError) and not kind.__name__.startswith("_")}
    assert remedies.keys() == {kind.__name__ for kind in public}
    pages = {page for text in remedies.values() for page in re.findall(r"\]\(([\w/.]+)\)", text)}
    assert [page for page in pages if not (DOCS / "reference" / page).resolve().exists()] == []


def test_the_page_of_the_api_has_each_public_name_once() -> None:
    text = (DOCS / "reference" / "api.md").read_text()
    assert sorted([*re.findall(r"^\.\. auto\w+:: (\w+)$", text, re.M), "errors"]) == sorted(dagcelery.__all__)


def test_each_guide_stands_in_the_navigation_and_in_the_list_of_guides() -> None:
    guides = {path.stem for path in (DOCS / "howto").glob("*.md")} - {"index"}
    assert set(re.findall(r"^howto/(\w+)$", (DOCS / "index.md").read_text(), re.M)) - {"index"} == guides
    listed = re.findall(r"^- \[(.+)\]\(([\w/.]+)\.md\)", (DOCS / "howto" / "index.md").read_text(), re.M)
    assert {name for _, name in listed if not name.startswith("..")} == guides
    headings = {name: (DOCS / "howto" / f"{name}.md").read_text().partition("\n")[0][2:] for _, name in listed}
    assert headings == {name: title for title, name in listed}
