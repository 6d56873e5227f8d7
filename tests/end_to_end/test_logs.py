"""What a task logs says which piece it was."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import chatty
import pytest

from dagcelery import PieceFilter, invoke
from dagcelery.local import cluster

SECONDS = 60.0


@pytest.mark.parametrize("settings", [{}, {"CELERY_CONFIG_MODULE": "spawning"}], ids=["forked", "spawned"])
def test_a_worker_s_log_names_run_node_item_and_attempt(settings: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with cluster(workers=1, log=str(log), environment=settings):
        run = chatty.chat.submit(n=3)
        run.result(timeout=SECONDS)
    lines = [line for line in log.read_text().splitlines() if "is told" in line]
    assert [re.sub(r"^\[.*?\] ", "", line) for line in lines] == [
        f"[run={run.id} node=told[{at}] attempt=1] item {at} is told" for at in range(3)
    ]


class Kept(logging.Handler):
    """Keeps records, as somebody's own handler."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(PieceFilter())
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[Kept]:
    """A handler with the filter on the root logger."""
    handler = Kept()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def test_records_have_fields_for_programs_on_a_handler_of_one_s_own(kept: Kept) -> None:
    invoke(chatty.nested, {"n": 2})
    fields = [(each.node, each.index, each.attempt) for each in kept.records]  # type: ignore[attr-defined]
    assert fields == [("inner[0]/told", None, 1), ("inner[1]/told", None, 1)]
    assert len({each.run for each in kept.records}) == 1  # type: ignore[attr-defined]


def test_outside_of_pieces_they_are_empty_and_what_a_record_has_stays(kept: Kept) -> None:
    chatty.log.warning("alone", extra={"run": "mine"})
    (record,) = kept.records
    found = {name: vars(record)[name] for name in ("run", "node", "index", "attempt", "piece")}
    assert found == {"run": "mine", "node": "", "index": None, "attempt": None, "piece": ""}


def test_the_log_of_a_team_s_app_stays_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with cluster(workers=1, log=str(log), app="chatty_team"):
        chatty.chat.submit(n=1).result(timeout=SECONDS)
    (line,) = [line for line in log.read_text().splitlines() if "is told" in line]
    assert re.fullmatch(r"\[.*: WARNING/ForkPoolWorker-1\] item 0 is told", line)
