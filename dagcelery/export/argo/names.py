"""Names that Argo accepts, made of those of nodes and values: no two of one kind are alike where they could meet."""

from __future__ import annotations

import re
from typing import Final

_LONGEST: Final = 100
"""Argo takes 128 characters; some are left for a number behind the name."""


class Names:
    """Names of one kind that are given out: letters, digits, dashes, and what else is `allowed`."""

    def __init__(self, allowed: str = "") -> None:
        self._other = re.compile(rf"[^A-Za-z0-9{allowed}-]")
        self._taken: set[str] = set()

    def give(self, name: str) -> str:
        """Return a name that is valid and new, and like `name`: its very self, if that will do."""
        plain = self._other.sub("-", name[:_LONGEST]).lstrip("-") or "x"
        given, number = plain, 1
        while given in self._taken:
            number += 1
            given = f"{plain}-{number}"
        self._taken.add(given)
        return given


class Folders:
    """Names of the folders of nested DAGs in the artifact repository, in which items have numbers instead of names.

    ``{{name}}-row-{{item}}`` may become what another node is called, such as "row-3": so numbers count as one.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def give(self, around: str, name: str, *, has_items: bool) -> tuple[str, str]:
        """Return what a DAG adds to the name of the folder around it, and the name that becomes of it."""
        added, number = name, 1
        while (folder := _numberless(f"{around}-{added}" + "-0" * has_items)) in self._taken:
            number += 1
            added = f"{name}-x{number}"
        self._taken.add(folder)
        return added, folder


def _numberless(name: str) -> str:
    return re.sub(r"(?<![^-])\d+(?![^-])", "0", name)
