"""Each claim of docs/security.md names tests, and these are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from checkout import ROOT

TEXT = (ROOT / "docs" / "security.md").read_text()
NAMED = re.findall(r"`(tests/[\w/.]+)::(\w+)`", TEXT)


@cache
def names_in(file: Path) -> set[str]:
    """The names of a file's tests."""
    return {
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)), ids=lambda part: part)
def test_a_test_that_is_named_is_there(file: str, name: str) -> None:
    assert name in names_in(ROOT / file)


def test_each_claim_names_a_test() -> None:
    tables = re.findall(r"^\| claim \|.*\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.M)
    claims = [row for table in tables for row in table.splitlines()]
    assert len(claims) > 50
    assert not [claim for claim in claims if not re.search(r"`tests/[\w/.]+::\w+`", claim)]


def test_each_test_of_this_folder_stands_for_a_claim() -> None:
    """But for those that show that an attack would work, and those of the means."""
    files = set(Path(__file__).parent.glob("test_*.py")) - {Path(__file__)}
    here = set().union(*map(names_in, files))
    means = {"test_a_bomb_makes_its_file_where_it_is_unpickled", "test_what_is_hidden_in_text_is_shown"}
    assert here - means == {name for file, name in NAMED if file.startswith("tests/faults/security/")}
