"""No rule of the table is forgotten: the numbers at the tests are all there are."""

from __future__ import annotations

import re
from pathlib import Path

AT_THE_COMMAND_LINE = {33, 34, 35}
OF_ANOTHER_ENGINE = {36}


def test_every_rule_is_tested_as_kept_or_as_fallen() -> None:
    texts = [path.read_text() for path in Path(__file__).parent.glob("test_rules_of_*.py")]
    numbers = {int(number) for text in texts for number in re.findall(r'^(?:    "|def test_)(\d+)[ _]', text, re.M)}
    assert numbers == set(range(1, 37)) - AT_THE_COMMAND_LINE - OF_ANOTHER_ENGINE
