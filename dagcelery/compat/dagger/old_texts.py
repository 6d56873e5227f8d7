"""Errors of dagcelery that say, word for word, what py-dagger says; programs and tests may compare that.

Its texts do not always tell which task or DAG is meant. That is the error's `culprit`, and stands below the text in a
traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from dagcelery.errors import CyclicDependency, InvalidDag, InvalidDagType, InvalidLocation, InvalidParameters

NAME: Final = "^[a-zA-Z0-9][a-zA-Z0-9-_]{0,63}$"
NODE_NAME: Final = "^[a-zA-Z0-9][a-zA-Z0-9-]{0,63}$"


class _Worded:
    """The text of py-dagger is the problem, and all that is said."""

    culprit: str
    problem: str

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]
        if self.culprit:
            self.add_note(f"It is about {self.culprit}.")  # type: ignore[attr-defined]

    def __str__(self) -> str:
        return self.problem


class BrokenRule(_Worded, InvalidDag):
    """A rule of py-dagger is broken."""


class WrongType(_Worded, InvalidDagType):
    """Something has a type that py-dagger does not take there."""


class WrongParameters(_Worded, InvalidParameters):
    """The parameters, or the files with them, do not fit a node."""


class WrongLocation(_Worded, InvalidLocation):
    """A file cannot be read, or not be written."""


class CyclicDependencyError(CyclicDependency):
    """Nodes depend on each other in a cycle; py-dagger tells those too that need what is in it."""

    def _parts(self) -> tuple[str, str, str]:
        return "", f"There is a cyclic dependency between the following nodes: {set(self.nodes)}", ""


def check_name(kind: str, kinds: str, name: str, regex: str = NAME) -> None:
    """Refuse a name that py-dagger would not allow.

    Raises BrokenRule, which is a ValueError.
    """
    if not isinstance(name, str) or not re.match(regex, name):
        text = f"'{name}' is not a valid name for {kind}. {kinds} must comply with the regex {regex}"
        raise BrokenRule("", text)


def check_partition(title: str, partition_by_input: str | None, inputs: Iterable[str]) -> None:
    """Refuse to partition a node by what is none of its inputs.

    Raises BrokenRule.
    """
    if partition_by_input and partition_by_input not in inputs:
        raise BrokenRule(
            title,
            f"This node is partitioned by '{partition_by_input}'. However, '{partition_by_input}' is not an input of "
            f"the node. The available inputs are {sorted(inputs)}.",
        )
