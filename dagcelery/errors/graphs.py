"""Errors of those who write a DAG or give it parameters."""

from __future__ import annotations

from collections.abc import Sequence

from dagcelery.errors.family import DagceleryError, sentence


class InvalidDag(DagceleryError, ValueError):
    """A DAG breaks a rule; raised when it is built, never when it runs."""

    def __init__(self, culprit: str, wrong: str = "", right: str = "") -> None:
        super().__init__(culprit, wrong, right)
        self.culprit = culprit
        self.wrong = wrong
        self.right = right


class InvalidDagType(InvalidDag, TypeError):
    """A part of a DAG is of a type that cannot stand there."""


class CyclicDependency(InvalidDag):
    """Nodes need each other in a circle; ``nodes`` are their names in that order, each once."""

    def __init__(self, nodes: Sequence[str]) -> None:
        circle = " -> ".join([*nodes, *nodes[:1]])
        super().__init__(
            f"nodes {circle}",
            "need each other in a circle, so none of them could start",
            "remove one of these dependencies",
        )
        self.args = (nodes,)
        self.nodes = tuple(nodes)

    def __str__(self) -> str:
        return sentence(self.culprit, self.wrong, self.right)


class InvalidConfig(InvalidDag):
    """A configuration says what no workflow can be made of; `line` counts from 1, None means that of no file."""

    def __init__(self, file: str, line: int | None, key: str, wrong: str, right: str = "") -> None:
        place = ", ".join(filter(None, (file, f"line {line}" if line else "", key)))
        super().__init__(place, wrong, right)
        self.args = (file, line, key, wrong, right)
        self.file = file
        self.line = line
        self.key = key

    def __str__(self) -> str:
        return sentence(self.culprit, self.wrong, self.right)


class InvalidParameters(DagceleryError, ValueError):
    """The parameters given to a run do not fit its DAG."""

    def __init__(self, culprit: str, wrong: str = "", right: str = "") -> None:
        super().__init__(culprit, wrong, right)
        self.culprit = culprit
        self.wrong = wrong
        self.right = right


class KeyReused(InvalidParameters):
    """A key stands for a run that was submitted with other parameters; that run is `run_id`."""

    def __init__(self, key: str, run_id: str, name: str) -> None:
        super().__init__(
            f"key {key!r}",
            f"stands for run {run_id} of '{name}', which was submitted with other parameters",
            "use a key for one set of parameters only",
        )
        self.args = (key, run_id, name)
        self.key = key
        self.run_id = run_id

    def __str__(self) -> str:
        return sentence(self.culprit, self.wrong, self.right)
