"""Names that Argo accepts, made of those of nodes and values: no two of one kind are alike where they could meet."""

from __future__ import annotations

import re
from typing import Final

_LONGEST: Final = 100
"""Argo takes 128 characters; some are left for a number behind the name."""


class Names:
    """Names of one kind that are given out: letters, digits, dashes, and what else is `allowed`.

    To those of tasks and templates nothing else is allowed, and a task's begins with no digit: Argo refuses that.
    """

    def __init__(self, allowed: str = "") -> None:
        self._may_begin_with_digit = bool(allowed)
        self._other = re.compile(rf"[^A-Za-z0-9{allowed}-]")
        self._taken: set[str] = set()

    def give(self, name: str) -> str:
        """Return a name that is valid and new, and like `name`: its very self, if that will do."""
        plain = self._other.sub("-", name[:_LONGEST]).lstrip("-") or "x"
        if plain[0].isdigit() and not self._may_begin_with_digit:
            plain = f"x-{plain}"
        given, number = plain, 1
        while given in self._taken:
            number += 1
            given = f"{plain}-{number}"
        self._taken.add(given)
        return given


class Folders:
    """Names of the folders of nested DAGs in the artifact repository, in which items have numbers instead of names.

    ``{{name}}-row-{{item}}`` may become what another node is called, such as "row-3": that one is called otherwise.
    """

    def __init__(self) -> None:
        self._taken: dict[str, list[str]] = {}

    def give(self, around: str, name: str, *, has_items: bool) -> tuple[str, str]:
        """Return what a DAG adds to the name of the folder around it, and the name that becomes of it, in which a star
        stands for an item.
        """
        added, number = name, 1
        while not self._is_new(folder := f"{around}-{added}{'-*' if has_items else ''}"):
            number += 1
            added = f"{name}-x{number}"
        return added, folder

    def _is_new(self, folder: str) -> bool:
        """Whether no other name may become this one; it is taken from now on."""
        alike = self._taken.setdefault(re.sub(r"(?<![^-])\d+(?![^-])", "*", folder), [])
        is_new = not any(_may_meet(folder, other) for other in alike)
        if is_new:
            alike.append(folder)
        return is_new


def _may_meet(one: str, other: str) -> bool:
    pairs = zip(one.split("-"), other.split("-"), strict=True)
    return all(part == same or "*" in (part, same) for part, same in pairs)
