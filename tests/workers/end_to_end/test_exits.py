"""On real workers that somebody listens to: what a task raises fails its piece, what a signal ends is given back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import exits
import pytest

from dagcelery.client import set_default
from dagcelery.errors import NodeFailed
from dagcelery.local import Cluster, cluster

from .hard import SECONDS, eventually

QUICK = {"DAGCELERY_HEARTBEAT_SECONDS": "0.2", "DAGCELERY_DEAD_SECONDS": "1"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exits") / "worker.log"


@pytest.fixture(scope="module")
def listening(log: Path) -> Iterator[Cluster]:
    """Two processes that listen to signals, and log at INFO."""
    with cluster(workers=2, modules=["exits"], log=str(log), log_level="INFO", environment=QUICK) as made:
        replaced = set_default(made.client)
        yield made
        set_default(replaced)


pytestmark = pytest.mark.usefixtures("listening")


def failed(run: Any) -> NodeFailed:
    with pytest.raises(NodeFailed) as found:
        run.result(SECONDS)
    return found.value


def calls(folder: Path) -> int:
    return len((folder / "trace").read_text().splitlines())


@pytest.mark.parametrize("number", range(len(exits.RAISED)), ids=[kind.__name__ for kind in exits.RAISED])
def test_what_a_task_raises_fails_its_piece_at_once(number: int, tmp_path: Path) -> None:
    error = failed(exits.raising.submit(folder=str(tmp_path), number=number))
    assert error.type_name.endswith(exits.RAISED[number].__name__)
    assert calls(tmp_path) == 1


def test_an_interrupt_is_tried_again_where_the_policy_says_so(tmp_path: Path) -> None:
    assert exits.interrupts_twice.submit(folder=str(tmp_path)).result(SECONDS) == 3
    assert calls(tmp_path) == 3


@pytest.mark.parametrize(
    ("node", "kind"), [("overruns", "TimeLimitExceeded"), ("dies", "PieceDied"), ("waits", "NotStarted")]
)
def test_a_listener_changes_no_error_of_a_poisoned_piece(node: str, kind: str) -> None:
    assert failed(getattr(exits, node).submit()).type_name == f"dagcelery.errors.{kind}"


def test_a_forked_child_that_comes_back_commits_nothing(tmp_path: Path) -> None:
    assert exits.forks.submit(folder=str(tmp_path)).result(SECONDS) == "parent"
    assert calls(tmp_path) == 1


def test_pieces_share_neither_contexts_nor_what_they_do_to_their_loop() -> None:
    for name in ("first", "second", "third"):
        assert exits.sets_user.submit(name=name).result(SECONDS) == "nobody"
        assert exits.stops_its_loop.submit().result(SECONDS) == "stopped"


def test_a_process_that_is_told_to_leave_gives_its_piece_back(tmp_path: Path) -> None:
    run = exits.stays.submit(folder=str(tmp_path))
    eventually((tmp_path / "pid").exists)
    eventually(lambda: (tmp_path / "pid").read_text() != "")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    assert run.result(SECONDS) == "done"
    assert list(run.errors()) == []


def test_the_log_has_a_line_for_each_failure_node_and_run_and_none_for_messages(log: Path, tmp_path: Path) -> None:
    run = exits.fine.submit(xs=[1, 2, 3])
    assert run.result(SECONDS) == [2, 4, 6]
    broken = exits.raising.submit(folder=str(tmp_path), number=1)
    assert failed(broken).type_name == "SystemExit"
    retried = exits.interrupts_twice.submit(folder=str(tmp_path))
    retried.result(SECONDS)

    def lines(of: str) -> list[str]:
        return [line for line in log.read_text().splitlines() if f"run {of}" in line]

    eventually(lambda: any("ended as done after" in line for line in lines(retried.id)))
    eventually(lambda: any("ended as failed after" in line for line in lines(broken.id)))
    assert [line for line in lines(run.id) if "node doubled is done (3 items)" in line and ": INFO/" in line]
    assert [line for line in lines(broken.id) if "raising failed in attempt 1" in line and ": ERROR/" in line]
    assert len([line for line in lines(retried.id) if ": WARNING/" in line and "is due in" in line]) == 2
    assert "SystemExit: by the task" in log.read_text()
    assert "dagcelery.work" not in log.read_text()
