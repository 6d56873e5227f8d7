"""What a task logs says which piece it was."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chatty
import pytest

from dagcelery import PieceFilter, Run, invoke
from dagcelery.local import cluster

from .hard import eventually
from .site import Site

SECONDS = 60.0


def told(run: Run[Any], lines: list[str]) -> list[str]:
    """What a worker's lines say of the items of a run, without time, level and process."""
    return [re.sub(r"^\[.*?\] ", "", line) for line in lines if "is told" in line and run.id in line]


def as_told(run: Run[Any]) -> list[str]:
    return [f"[run={run.id} node=told[{at}] attempt=1] item {at} is told" for at in range(3)]


def test_a_worker_s_log_names_run_node_item_and_attempt(at: Site) -> None:
    run = chatty.chat.submit(n=3)
    run.result(timeout=SECONDS)
    eventually(lambda: sorted(told(run, at.workers["cpu"].lines)) == as_told(run))


def test_so_does_that_of_a_worker_whose_children_are_spawned(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with cluster(workers=1, log=str(log), environment={"CELERY_CONFIG_MODULE": "spawning"}):
        run = chatty.chat.submit(n=3)
        run.result(timeout=SECONDS)
    assert told(run, log.read_text().splitlines()) == as_told(run)


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
    names = ("dag", "node", "item", "index", "attempt", "queue")
    fields = [tuple(getattr(each, name) for name in names) for each in kept.records]
    assert fields == [("chatty:nested", f"inner[{at}]/told", None, None, 1, "celery") for at in range(2)]
    assert len({each.run for each in kept.records}) == 1  # type: ignore[attr-defined]


def test_outside_of_pieces_they_are_empty_and_what_a_record_has_stays(kept: Kept) -> None:
    chatty.log.warning("alone", extra={"run": "mine"})
    (record,) = kept.records
    texts = {name: vars(record)[name] for name in ("run", "dag", "node", "queue", "piece")}
    assert texts == {"run": "mine", "dag": "", "node": "", "queue": "", "piece": ""}
    assert {vars(record)[name] for name in ("item", "index", "attempt")} == {None}


def test_the_log_of_a_team_s_app_stays_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with cluster(workers=1, log=str(log), app="chatty_team"):
        chatty.chat.submit(n=1).result(timeout=SECONDS)
    (line,) = [line for line in log.read_text().splitlines() if "is told" in line]
    assert re.fullmatch(r"\[.*: WARNING/ForkPoolWorker-1\] item 0 is told", line)


def test_a_team_s_own_format_has_what_each_line_is_about(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with cluster(workers=1, log=str(log), log_level="INFO", app="json_team"):
        failed, sieved, told = chatty.unlucky.submit(), chatty.sieved.submit(n=3), chatty.chat.submit(n=1)
        assert [str(run.wait(SECONDS)) for run in (failed, sieved, told)] == ["failed", "done", "done"]
    found = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]

    def lines(run_id: str, *names: str) -> list[tuple[Any, ...]]:
        return [tuple(line.get(name) for name in names) for line in found if line["run"] == run_id]

    assert lines(failed.id, "level", "action", "node", "attempt", "state") == [
        ("WARNING", "retried", "unlucky", 1, None),
        ("ERROR", "failed", "unlucky", 2, None),
        ("INFO", "run_ended", "", None, "failed"),
    ]
    (traceback,) = [line["traceback"] for line in found if "traceback" in line]
    assert traceback.endswith("ConnectionError: no route")
    assert lines(sieved.id, "level", "action", "node", "item", "queue") == [
        ("INFO", "node_done", "numbers", None, "celery"),
        ("WARNING", "skipped", "small[1]", 1, "celery"),
        ("INFO", "node_done", "small", None, "celery"),
        ("INFO", "run_ended", "", None, ""),
    ]
    assert ("WARNING", "told[0]", "item 0 is told") in lines(told.id, "level", "node", "message")
    assert {line["dag"] for line in found if line["run"] == sieved.id} == {"chatty:sieved"}
