"""Names of nodes, inputs and outputs: what they may look like, and which one was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterable
from typing import Final

from dagcelery.text import shown, word

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
    """Whether something is one of the `known` names; what is no word at all is none of them."""
    return isinstance(name, str) and name in known


def choices(wrong: object, known: Iterable[str]) -> str:
    """Return a remedy for a name that does not exist: the nearest ones, else all that there are."""
    names = sorted(known)
    near = difflib.get_close_matches(word(wrong), names, n=3)
    if near:
        return f"did you mean {listed(near, 'or')}?"
    return f"there {'is' if len(names) == 1 else 'are'} {listed(names)}" if names else "there are none"


def listed(names: Iterable[str], last: str = "and", most: int = 12) -> str:
    """Return names as a list in prose, at most `most` of them."""
    quoted = [shown(name) for name in names]
    if len(quoted) > most:
        quoted = [*quoted[:most], f"{len(quoted) - most} more"]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"
