"""The processes and schedulers that people run: Celery's beat as a process, RedBeat, workflows of files, the verbs."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import celery
import pytest
from click.testing import CliRunner, Result
from redbeat import RedBeatScheduler

from checkout import ROOT, TESTS
from dagcelery import Run
from dagcelery.cli import dag
from dagcelery.local import Cluster, Process
from dagcelery.local.guard import tail
from dagcelery.worker.app import app_context_of
from dagcelery.worker.beat import of_app, prepare

from .conftest import Beats

SECONDS = 60.0
WORKFLOWS = """
project: shop
workflows:
  - name: nightly
    schedule: "0 3 * * *"
    timezone: Europe/Berlin
    steps: [&step {name: here, module: os, function: getcwd, dependencies: null, return: [path]}]
  - name: by_hand
    steps: [*step]
"""


@contextmanager
def running(local: Cluster, log: Path, *command: str, **environment: str) -> Iterator[Process]:
    """Run a program in the folder of the tests, which is on nobody's path, until the block ends."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    root = {"PYTHONPATH": str(ROOT)}
    script = f"cd {TESTS} && exec " + " ".join(command)
    process = local.server.guard.start(
        ["sh", "-c", script], log=log, environment=kept | root | dict(local.environment) | environment
    )
    try:
        yield process
    finally:
        process.stop()


def await_lines(pattern: str, count: int, process: Process, log: Path) -> list[str]:
    """Wait until a log has this many lines of a pattern, and return what stands in its group."""
    until = time.monotonic() + SECONDS
    while len(found := re.findall(pattern, log.read_text() if log.exists() else "")) < count:
        assert process.is_alive, tail(log)
        assert time.monotonic() < until, tail(log)
        time.sleep(0.05)
    return found


CELERY = str(Path(sys.executable).with_name("celery"))


def test_a_beat_process_submits_what_it_missed_while_it_was_away(
    beats: Beats, cluster: Cluster, tmp_path: Path
) -> None:
    beats.start("remembered").close()  # it was last due at the year's beginning
    log = tmp_path / "beat.log"
    command = (CELERY, "-A", "dagcelery", "beat", "-l", "INFO", "-s", str(tmp_path / "remembered"), "--pidfile=")
    with running(cluster, log, *command, DAGCELERY_IMPORTS="workers.schedule.clockwork") as beat:
        ids = await_lines(r"due at \S+ \S+: run (\w+)", 2, beat, log)
    assert [Run(each, client=cluster.client).result(timeout=SECONDS) for each in ids[:2]] == [42, 42]


def test_a_worker_with_a_beat_in_it_submits_too(beats: Beats, cluster: Cluster, tmp_path: Path) -> None:
    beats.start("remembered").close()
    log = tmp_path / "worker.log"
    command = (CELERY, "-A", "dagcelery", "worker", "-l", "INFO", "-c", "1", "-Q", "nobody", "-B")
    given = {"DAGCELERY_IMPORTS": "workers.schedule.clockwork"}
    with running(cluster, log, *command, "-s", str(tmp_path / "remembered"), **given) as worker:
        ids = await_lines(r"due at \S+ \S+: run (\w+)", 2, worker, log)
    assert Run(ids[0], client=cluster.client).result(timeout=SECONDS) == 42


def test_a_beat_that_cannot_start_ends_with_a_sentence(cluster: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "beat.log"
    command = (CELERY, "-A", "dagcelery", "beat", "-s", str(tmp_path / "remembered"), "--pidfile=")
    with running(cluster, log, *command, DAGCELERY_WORKFLOWS="nowhere/*.yml") as beat:
        beat._child.wait(SECONDS)
        assert beat.exit_code == 1
    last = log.read_text().splitlines()[-1]
    assert last == (
        "beat does not start: DAGCELERY_WORKFLOWS: names 'nowhere/*.yml', which matches no file; write a path"
    )


# -- RedBeat ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(celery.VERSION[:2] < (5, 7), reason="crontabs of Celery before 5.7 are late beside UTC")
def test_redbeat_keeps_our_entries_and_submits_what_is_due(beats: Beats) -> None:
    app = beats.app(timezone="Europe/Berlin", redbeat_redis_url=beats.server.url, redbeat_lock_key=None)
    prepare(app, "redbeat.RedBeatScheduler")
    beats.now = beats.now.replace(minute=1)
    scheduler = RedBeatScheduler(app)
    scheduler.lock_key = None
    for moment in ("2026-01-01T02:00:01+00:00", "2026-01-01T02:00:02+00:00", "2026-01-01T02:05:00+00:00"):
        beats.now = beats.now.fromisoformat(moment)
        scheduler.tick()
    assert beats.runs() == ["nightly", "often", "often"]


def test_redbeat_is_refused_crontabs_that_would_be_late(beats: Beats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery, "VERSION", (5, 6, 3))
    with pytest.raises(SystemExit, match=r"would be hours late .*: upgrade Celery to 5\.7"):
        prepare(beats.app(timezone="Europe/Berlin"), RedBeatScheduler)


def test_redbeat_is_refused_what_it_cannot_write_down(beats: Beats) -> None:
    app = beats.app()
    with pytest.raises(
        SystemExit, match=r"nightly' goes by the clock of Europe/Berlin, and RedBeat by that of its app"
    ):
        prepare(app, RedBeatScheduler)


# -- workflows of files ----------------------------------------------------------------------------------


def test_workflows_of_the_files_that_a_setting_names_are_scheduled(beats: Beats, tmp_path: Path) -> None:
    (tmp_path / "shop.yml").write_text(WORKFLOWS)
    app = beats.app("json", dagcelery_workflows=(str(tmp_path / "*.yml"),))
    (found,) = of_app(app, app_context_of(app).settings)
    assert (found.name, str(found.schedule)) == ("shop:nightly", "0 3 * * * Europe/Berlin")
    prepare(app)
    assert set(app.conf.beat_schedule) == {"dagcelery shop:nightly"}


# -- the verbs -------------------------------------------------------------------------------------------


def cli(*arguments: str) -> Result:
    return CliRunner().invoke(dag, arguments, prog_name="dagcelery")


def test_config_schedule_shows_when_the_workflows_of_a_file_are_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop [1].yml").write_text(WORKFLOWS)
    monkeypatch.chdir(tmp_path)
    shown = cli("config", "schedule", "shop [1].yml")
    assert shown.exit_code == 0, shown.output
    assert re.fullmatch(r"\d{4}-\S+T0[12]:00:00\+00:00  0 3 \* \* \* Europe/Berlin  shop:nightly\n", shown.stdout)


def test_config_schedule_becomes_the_beat_of_a_file(beats: Beats, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "shop.yml").write_text(WORKFLOWS.replace("0 3 * * *", "* * * * *"))
    app = beats.app("json", dagcelery_workflows=(str(tmp_path / "shop.yml"),))
    prepare(app)
    beats.remembering(app, "remembered").close()
    log = tmp_path / "beat.log"
    program = (sys.executable, "-m", "dagcelery.cli", "config", "schedule", str(tmp_path / "shop.yml"), "--beat", "--")
    with running(cluster, log, *program, "-l", "INFO", "-s", str(tmp_path / "remembered"), "--pidfile=") as beat:
        ids = await_lines(r"DAG shop:nightly, due at \S+ \S+: run (\w+)", 1, beat, log)
    assert Run(ids[0], client=cluster.client).result(timeout=SECONDS)


@pytest.mark.usefixtures("beats")
def test_schedule_list_shows_what_beat_would_find() -> None:
    found = cli("schedule", "list", "-A", "workers.schedule.team", "--json")
    assert found.exit_code == 0, found.output
    assert {each["dag"]: each["timezone"] for each in json.loads(found.stdout)} == {
        "declared": "UTC",
        "workers.schedule.clockwork:nightly": "Europe/Berlin",
        "workers.schedule.clockwork:often": "UTC",
    }
    lines = cli("schedule", "list", "-A", "workers.schedule.team").stdout.splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        "0 0 1 1 * UTC  declared",
        "0 3 * * * Europe/Berlin  workers.schedule.clockwork:nightly",
        "*/5 * * * * UTC  workers.schedule.clockwork:often",
    ]


def test_a_file_whose_name_is_two_words_cannot_be_a_beat_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my shop.yml").write_text(WORKFLOWS)
    monkeypatch.chdir(tmp_path)
    refused = cli("config", "schedule", "my shop.yml", "--beat")
    assert refused.exit_code == 2
    assert "has a blank or a comma in its path, which DAGCELERY_WORKFLOWS cannot have" in refused.stderr


@pytest.mark.parametrize(("app", "told"), [("no.such", "cannot be imported"), ("celery:Celery", "is not attached")])
def test_schedule_list_wants_an_app_with_dagcelery(app: str, told: str) -> None:
    refused = cli("schedule", "list", "-A", app)
    assert refused.exit_code == 2
    assert told in refused.stderr
