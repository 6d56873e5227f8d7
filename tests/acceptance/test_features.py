"""Each row of the table of features names tests, and they are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from checkout import TESTS

ROWS = re.findall(r"^\| (\d+) \| [^|]+ \| (.+) \|$", Path(__file__).with_name("features.md").read_text(), re.M)


def test_every_row_is_there() -> None:
    assert [int(number) for number, _ in ROWS] == [*range(1, 102)]


@pytest.mark.parametrize(("number", "tests"), ROWS)
def test_the_tests_of_a_row_are_there(number: str, tests: str) -> None:
    for test in re.findall(r"`([^`]+)`", tests):
        file, _, name = test.partition("::")
        assert name in {getattr(node, "name", "") for node in ast.parse((TESTS / file).read_text()).body}, test
    assert "`" in tests, number
