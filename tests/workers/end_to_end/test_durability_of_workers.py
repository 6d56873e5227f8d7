"""Workers of each pool that are stopped in each way, recycle their children, or come and go: runs end right, and no
piece is charged for a stop that somebody asked for.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from signal import SIGINT, SIGQUIT, SIGTERM

import hardships
import pytest
from hardships import traces

from dagcelery.client import set_default

from .hard import SECONDS, eventually
from .site import Site, site
from .surroundings import CHOSEN

pytestmark = pytest.mark.skipif(CHOSEN == "embedded", reason="takes a minute: make test-matrix")

QUICK = {"DAGCELERY_HEARTBEAT_SECONDS": "0.2", "DAGCELERY_DEAD_SECONDS": "2"}


@pytest.fixture(scope="module")
def shift() -> Iterator[Site]:
    """A site whose workers each test hires and dismisses."""
    with site() as made:
        replaced = set_default(made.client)
        yield made
        set_default(replaced)


def ended(made: Site, name: str) -> int | None:
    process = made.workers[name].process
    eventually(lambda: not process.is_alive, 60)  # a child that is replaced may wait 30 s for billiard's main process
    return process.exit_code


def queues(made: Site) -> list[str]:
    return [queue for word in made.client.store.fleet.workers().values() for queue in word["queues"]]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_worker_that_is_asked_to_stop_ends_what_it_began_and_begins_nothing(
    tmp_path: Path, shift: Site, pool: str
) -> None:
    shift.hire("first", "-P", pool, "-c", "1", env=QUICK).await_ready()
    run = hardships.held_items.submit(folder=str(tmp_path), n=3)
    eventually(lambda: len(traces(tmp_path)) == 1)
    time.sleep(0.5)  # longer than a message may take
    shift.workers["first"].process.send(SIGTERM)
    eventually(lambda: queues(shift) == [])
    (tmp_path / "go").touch()
    assert ended(shift, "first") == 0
    assert len(traces(tmp_path)) == 1
    shift.hire("second", env=QUICK)
    assert run.result(SECONDS) == [0, 1, 2]
    shift.workers["second"].process.ask()
    ended(shift, "second")
    assert sorted(traces(tmp_path)) == ["0", "1", "2", "last"]
    assert list(run.errors()) == []


@pytest.mark.parametrize(
    ("pool", "signals"),
    [("prefork", [SIGQUIT]), ("prefork", [SIGINT, SIGINT]), ("solo", [SIGQUIT]), ("solo", [SIGINT, SIGINT])],
    ids=["prefork quit", "prefork interrupted twice", "solo quit", "solo interrupted twice"],
)
def test_a_worker_that_is_told_to_stop_gives_back_what_it_began(
    tmp_path: Path, shift: Site, pool: str, signals: Sequence[signal.Signals]
) -> None:
    shift.hire("first", "-P", pool, "-c", "1", env=QUICK).await_ready()
    run = hardships.held.submit(folder=str(tmp_path), x=1)
    eventually(lambda: traces(tmp_path))
    for number in signals:
        shift.workers["first"].process.send(number)
        eventually(lambda: queues(shift) == [])
    ended(shift, "first")
    shift.hire("second", env=QUICK)
    (tmp_path / "go").touch()
    assert run.result(SECONDS) == 1
    shift.workers["second"].process.ask()
    ended(shift, "second")
    assert traces(tmp_path) == ["1", "1"]
    assert list(run.errors()) == []


@pytest.mark.parametrize(
    "options",
    [
        ["--autoscale", "4,1", "--max-tasks-per-child", "1"],
        ["-c", "2", "--max-memory-per-child", "1"],
        ["-P", "threads", "-c", "2", "-O", "fair", "--prefetch-multiplier", "4", "--purge"],
    ],
    ids=" ".join,
)
def test_each_item_is_called_once_and_retried_alone_however_children_come_and_go(
    tmp_path: Path, shift: Site, options: list[str]
) -> None:
    run = hardships.shaky_items.submit(folder=str(tmp_path), n=300)
    shift.hire("first", *options, env=QUICK)
    assert run.result(SECONDS) == list(range(300))
    shift.workers["first"].process.ask()
    assert ended(shift, "first") == 0
    assert len(traces(tmp_path)) == 302
    assert {each.address for each in run.errors()} == {"shaky[2]", "shaky[5]"}


def test_runs_end_right_while_workers_of_one_name_come_and_are_killed(tmp_path: Path, shift: Site) -> None:
    run = hardships.shaky_items.submit(folder=str(tmp_path), n=2000)
    for number in range(6):
        first = shift.hire("same", env=QUICK)
        first.await_ready()
        if number % 2:
            first.process.kill()
        else:
            os.kill(first.pid, SIGTERM)
    shift.hire("same", env=QUICK)
    assert run.result(SECONDS) == list(range(2000))
    assert {each.address for each in run.errors()} == {"shaky[2]", "shaky[5]"}
    shift.workers["same"].process.ask()
    ended(shift, "same")
