"""What the tests of durability share: they see a run's trace in a folder, and wait no longer than they must."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from dagcelery import Run
from dagcelery.errors import NodeFailed

SECONDS = 30.0
T = TypeVar("T")


def failure(run: Run[Any]) -> NodeFailed:
    """The error that a run ends with."""
    with pytest.raises(NodeFailed) as caught:
        run.result(SECONDS)
    return caught.value


def eventually(look: Callable[[], T], seconds: float = SECONDS) -> T:
    """Look until there is something to be seen; for what no event tells of."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)
    return found


def node(run: Run[Any], name: str) -> Any:
    """How far a node of a run is."""
    return next(each for each in run.status().nodes if each.name == name)
