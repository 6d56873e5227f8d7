"""Names of nodes, inputs and outputs: what they may look like."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

# Addresses such as train[3]/fit[0] and module:qualname are made of the characters that no name may have.
NAME: Final = re.compile(r"\w[\w-]{0,63}")
LONGEST: Final = 64
NAME_RULE: Final = (
    "up to 64 letters, digits, '_' and '-', not beginning with '-' ([ ] / . : mean something in addresses)"
)


def is_name(name: object) -> bool:
    """Whether something is fit to name a node, an input or an output."""
    if not isinstance(name, str):
        return False
    if NAME.fullmatch(name):
        return True
    return len(name) <= LONGEST and name[:1] not in ("", "-") and all(map(may_be_in_a_name, name))


def may_be_in_a_name(char: str) -> bool:
    """Whether a name may hold `char`: all that Python's own names may hold, such as the vowel signs of Hindi and Thai,
    which are no letters to `re`.
    """
    return char == "-" or NAME.match(char) is not None or f"_{char}".isidentifier()


def is_in(name: object, known: Container[str]) -> bool:
    """Whether something is a str, and one of the `known` names."""
    return isinstance(name, str) and name in known
