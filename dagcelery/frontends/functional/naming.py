"""Names for nodes and outputs that nobody named: what made them, and a number where that is not enough."""

from __future__ import annotations

from collections.abc import Iterable

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional.refs import Path
from dagcelery.model.names import LONGEST, is_name, may_be_in_a_name
from dagcelery.text import shown


class Names:
    """The names that are given within one DAG; `taken` ones are not given again."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken: dict[str, int] = {}
        for name in taken:
            self.fix(name)

    def fix(self, name: str) -> str:
        """Give exactly `name`."""
        if name in self._taken:
            right = f"name another one, or leave the name out: it would become '{name}-2'"
            raise InvalidDag(f"node name {shown(name)}", "is given twice in one DAG", right)
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


def output_name(path: Path) -> str:
    """Return what to call the output at `path`: return_value, key_a, property_b, key_a_property_b."""
    return valid("_".join(f"{kind}_{name}" for kind, name in path)) if path else "return_value"


def valid(name: object) -> str:
    """Return `name` with what no name may have replaced by underscores."""
    text = str(name) if not isinstance(name, int) else shown(name)
    if is_name(text):
        return text
    return "".join(char if may_be_in_a_name(char) else "_" for char in text).lstrip("-")[:LONGEST] or "_"
