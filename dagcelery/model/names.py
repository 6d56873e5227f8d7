"""Names of nodes, inputs and outputs: what they may be made of, and how they are made of other things."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, Final

from dagcelery.errors import InvalidDag
from dagcelery.text import shown

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
    which `re` does not take for letters.
    """
    return char == "-" or NAME.match(char) is not None or f"_{char}".isidentifier()


def is_in(name: object, names: Container[str]) -> bool:
    """Whether something is a str, and one of `names`."""
    return isinstance(name, str) and name in names


class UniqueNames:
    """The names that are given within one DAG; `taken` ones are not given again."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken: dict[str, int] = {}
        for name in taken:
            self.fix(name)

    def fix(self, name: str) -> str:
        """Give exactly `name`."""
        if name in self._taken:
            remedy = f"name another one, or leave the name out: it would become '{name}-2'"
            raise InvalidDag(f"node name {shown(name)}", "is given twice in one DAG", remedy)
        self._taken[name] = 1
        return name

    def give(self, base: str) -> str:
        """Give `base` the first time, then ``base-2``, ``base-3``."""
        name, number = base, self._taken.get(base, 0)
        while name in self._taken:
            number += 1
            name = f"{base[: LONGEST - 8]}-{number}"
        self._taken[base] = max(number, 1)
        self._taken.setdefault(name, 1)
        return name


def output_name(path: Sequence[tuple[str, str | int]]) -> str:
    """Return what to call the output at `path`: return_value, key_a, property_b, key_a_property_b."""
    return valid("_".join([f"{kind}_{name}" for kind, name in path])) if path else "return_value"


def valid(name: object) -> str:
    """Return `name` with what no name may have replaced by underscores."""
    text = str(name) if not isinstance(name, int) else shown(name)
    if is_name(text):
        return text
    return "".join(char if may_be_in_a_name(char) else "_" for char in text).lstrip("-")[:LONGEST] or "_"


def short_name(fn: Callable[..., Any]) -> str:
    """Return the name of a function, as its nodes have it."""
    return getattr(fn, "__name__", type(fn).__name__).strip("<>")
