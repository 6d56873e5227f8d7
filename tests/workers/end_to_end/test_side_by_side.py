"""On real processes that await pieces side by side: they do so, and each lives and dies for itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import awaiting
import pytest

from dagcelery.client import set_default
from dagcelery.local import Cluster, cluster
from dagcelery.skipped import Skipped

from .hard import SECONDS

LANES = {"DAGCELERY_ASYNC_CONCURRENCY": "20", "DAGCELERY_HEARTBEAT_SECONDS": "0.2", "DAGCELERY_DEAD_SECONDS": "1"}


@pytest.fixture(scope="module", autouse=True)
def lanes() -> Iterator[Cluster]:
    """One process, which awaits twenty pieces."""
    with cluster(workers=1, modules=["awaiting"], environment=LANES) as made:
        replaced = set_default(made.client)
        yield made
        set_default(replaced)


def test_twenty_are_awaited_at_once_in_one_process(tmp_path: Path) -> None:
    run = awaiting.met.submit(folder=str(tmp_path), xs=list(range(40)), wanted=20)
    assert run.result(SECONDS) == [2 * x for x in range(40)]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_process_that_dies_is_charged_to_the_one_that_kills_each_of_them(tmp_path: Path) -> None:
    result = awaiting.killed.submit(folder=str(tmp_path), xs=list(range(20)), culprit=7).result(SECONDS)
    assert [each for each in result if type(each) is not Skipped] == [2 * x for x in range(20) if x != 7]
    assert result[7].type_name.endswith(".PieceDied")


@pytest.mark.parametrize("blocks", [False, True])
def test_a_limit_is_each_ones_own(blocks: bool) -> None:
    """One that blocks the loop ends the process; alone, it meets its limits as any function does."""
    result = awaiting.lingering.submit(xs=list(range(10)), blocks=blocks).result(SECONDS)
    assert [type(each) is Skipped for each in result] == [x == 3 and blocks for x in range(10)]
    assert not blocks or "TimeLimitExceeded" in result[3].type_name
