"""On workers, branches on several queues are taken or skipped, for each item of a list by itself."""

from __future__ import annotations

import branching
import pytest

from dagcelery import Run

from .hard import SECONDS, node

pytestmark = pytest.mark.usefixtures("cluster")


def test_each_item_takes_its_own_branch() -> None:
    run: Run[int] = branching.judged_all.submit(20)
    assert run.result(SECONDS) == sum(100_000 * x if x % 2 else -x for x in range(20)) + 1000
    for name, done in (("when/then/large", 10), ("when/otherwise/when/then/small", 9)):
        assert (node(run, f"judged[*]/{name}").done, node(run, f"judged[*]/{name}").skipped) == (done, 20 - done)


@pytest.mark.parametrize(("x", "expected", "skipped"), [(1, 100_000, "otherwise"), (2, -2, "then"), (0, 1000, "then")])
def test_one_branch_is_taken(x: int, expected: int, skipped: str) -> None:
    run: Run[int] = branching.judged.submit(x)
    assert run.result(SECONDS) == expected
    assert node(run, f"when/{skipped}").state == "skipped"
