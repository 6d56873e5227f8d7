"""What a refusal tells: the culprit, what is wrong with it, and what would be right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from dagcelery import errors


@dataclass(frozen=True)
class Bad:
    """Something bad to do, and a few words of each of the three things that its error says."""

    do: Callable[[], object]
    culprit: str
    wrong: str
    right: str
    kind: type[errors.DagceleryError] = errors.InvalidDag

    def is_refused(self) -> None:
        """Do it, and look at how it is refused."""
        with pytest.raises(self.kind) as caught:
            self.do()
        check(caught.value, self.culprit, self.wrong, self.right)


def check(error: BaseException | None, culprit: str, wrong: str, right: str) -> None:
    """An error tells these three things, in its attributes and in its sentence alike."""
    assert isinstance(error, errors.DagceleryError)
    for expected, told in zip((culprit, wrong, right), parts(error), strict=True):
        assert told, f"{error!r} leaves a part out"
        assert expected in told
        assert told.rstrip(". ") in str(error)


def parts(error: errors.DagceleryError) -> tuple[str, str, str]:
    """The culprit, what is wrong and what would be right; an error that leaves one out tells all in its sentence."""
    if error.culprit and error.problem and error.remedy:
        return error.culprit, error.problem, error.remedy
    return str(error), str(error), str(error)
