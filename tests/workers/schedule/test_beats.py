"""Celery's beat submits what has a schedule: one run a tick, whatever happens to beats, brokers and stores."""

from __future__ import annotations

import re
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.conf import LazySettings

from dagcelery import DAG, FromParam, Schedule, Task, attach
from dagcelery.client import Client
from dagcelery.errors import KeyReused
from dagcelery.local import Server
from dagcelery.model import DagOptions
from dagcelery.store.records import RunState
from dagcelery.worker.app import app_context_of
from dagcelery.worker.beat import Clock, Submitter, of_app, prepare
from unit.engine.test_telling import listening

from . import clockwork
from .conftest import Beats

HASTY = {"max_retries": 0}
YEARLY = DagOptions(schedule=Schedule("0 0 1 1 *"))
NODES = {"answer": Task(clockwork.answer.fn)}


def test_each_tick_is_submitted_once_by_a_beat(beats: Beats) -> None:
    beat = beats.start()
    beats.at("2026-01-01T01:59:30+00:00", beat)
    assert beats.runs() == ["often"]
    beats.at("2026-01-01T02:00:00+00:00", beat)
    assert beats.runs() == ["nightly", "often", "often"]  # 03:00 in Berlin
    beats.at("2026-01-01T02:04:59+00:00", beat)
    assert beats.runs() == ["nightly", "often", "often"]
    beats.at("2026-01-01T02:05:00+00:00", beat)
    assert beats.runs() == ["nightly", "often", "often", "often"]


def test_two_beats_start_one_run(beats: Beats) -> None:
    first, second = beats.start("first"), beats.start("second")
    for moment in ("2026-01-01T02:00:00.1+00:00", "2026-01-01T02:05:00.2+00:00", "2026-01-01T02:10:04+00:00"):
        beats.at(moment, first, second)
    assert beats.runs() == ["nightly", "often", "often", "often"]


def test_after_a_pause_the_last_missed_tick_is_made_up_for_once(beats: Beats) -> None:
    before = beats.start()
    beats.at("2026-01-01T00:05:00+00:00", before)
    before.close()
    beats.now = beats.now.replace(month=3, hour=12, minute=2)
    after = beats.start()
    beats.at("2026-03-01T12:02:00+00:00", after)
    assert beats.runs() == ["nightly", "often", "often"]
    found = clockwork.often.options(key="tick 2026-03-01T12:00:00+00:00").submit()
    assert beats.runs() == ["nightly", "often", "often"]
    assert found.state is RunState.PENDING
    beats.at("2026-03-01T12:04:59+00:00", after)
    assert beats.runs() == ["nightly", "often", "often"]


def test_a_beat_that_remembers_nothing_makes_up_for_nothing(beats: Beats) -> None:
    beats.at("2026-03-01T12:02:00+00:00")
    beats.at("2026-03-01T12:03:00+00:00", beats.start())
    assert beats.runs() == []


def test_celery_s_own_setting_says_how_late_a_missed_tick_may_be(beats: Beats) -> None:
    before = beats.start(beat_cron_starting_deadline=3600)
    beats.at("2026-01-01T00:04:00+00:00", before)
    before.close()
    beats.now = beats.now.replace(hour=12, minute=2)
    after = beats.start(beat_cron_starting_deadline=3600)
    beats.at("2026-01-01T12:02:00+00:00", after)
    assert beats.runs() == ["often"]  # two minutes late; nightly would be ten hours late
    beats.at("2026-01-02T02:00:00+00:00", after)
    assert beats.runs() == ["nightly", "often", "often"]


def test_a_beat_that_dies_before_it_remembers_what_it_did_starts_no_second_run(beats: Beats, tmp_path: Path) -> None:
    beats.start("first").close()
    (tmp_path / "copies").mkdir()
    for file in tmp_path.glob("first*"):
        shutil.copy(file, tmp_path / "copies")
    beats.at("2026-01-01T00:05:00+00:00", beats.start("first"))
    beats.at("2026-01-01T00:05:01+00:00", beats.start("copies/first"))
    assert beats.runs() == ["often"]
    beats.at("2026-01-01T00:05:02+00:00", beats.start("unknown"))
    assert beats.runs() == ["often"]


def test_what_the_store_misses_is_submitted_when_it_is_back(beats: Beats) -> None:
    often, submitter = often_of(beats.app())
    beats.server.stop()
    assert submitter.submit(often) is None
    submitter.catch_up()  # in vain
    beats.server.start()
    submitter.catch_up()
    submitter.catch_up()
    assert beats.runs() == ["often"]


def test_what_the_broker_does_not_take_is_submitted_when_it_does(beats: Beats) -> None:
    with Server() as broker:
        app = beats.app(broker_url=broker.url, broker_transport_options=HASTY, task_publish_retry=False)
        often, submitter = often_of(app)
        broker.stop()
        assert submitter.submit(often) is None
        submitter.catch_up()  # in vain
        broker.start()
        submitter.catch_up()
        submitter.catch_up()
    (run,) = beats.waiting()
    assert run.state is RunState.PENDING


def test_a_tick_that_was_missed_gives_way_to_the_next(beats: Beats) -> None:
    often, submitter = often_of(beats.app())
    beats.server.stop()
    assert submitter.submit(often) is None
    beats.server.start()
    beats.at("2026-01-01T00:05:00+00:00")
    run = submitter.submit(often)
    submitter.catch_up()
    assert beats.waiting() == [run]


def test_who_monitors_an_entry_hears_once_of_each_tick_by_the_headers_that_it_gave(beats: Beats) -> None:
    def hear(sender: Any, signal: Any, exception: Any = None, **_: Any) -> None:
        found.append((sender.request.headers["check"], signal.name, type(exception).__name__))

    found: list[tuple[int, str, str]] = []
    app = beats.app()
    prepare(app)
    tick = app.tasks["dagcelery.tick"]
    often, nightly = (f"workers.schedule.clockwork:{name}" for name in ("often", "nightly"))
    with listening(hear, "task_success", "task_failure"):
        tick.apply_async([often], headers={"check": 1})
        tick.apply_async([often])
        beats.server.stop()
        tick.apply_async([often], headers={"check": 2})
        assert [check for check, _, _ in found] == [1]  # it may still come
        beats.server.start()
        beats.at("2026-01-01T00:05:00+00:00")
        tick.apply_async([often], headers={"check": 3})
        clockwork.nightly.options(key="tick 2025-12-31T02:00:00+00:00").submit(extra=5)
        with pytest.raises(KeyReused):
            tick.apply_async([nightly], headers={"check": 4})
    assert found == [
        (1, "task_success", "NoneType"),
        (2, "task_failure", "StoreUnavailable"),
        (3, "task_success", "NoneType"),
        (4, "task_failure", "KeyReused"),
    ]


def test_what_is_refused_is_said_once_and_not_tried_again(beats: Beats, caplog: pytest.LogCaptureFixture) -> None:
    nightly, submitter = submitter_of(beats.app(), clockwork.nightly)
    beats.server.stop()
    assert submitter.submit(nightly) is None
    beats.server.start()
    clockwork.nightly.options(key="tick 2025-12-31T02:00:00+00:00").submit(extra=5)
    submitter.catch_up()
    submitter.catch_up()
    (told,) = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert told.startswith("DAG workers.schedule.clockwork:nightly, due at 2025-12-31 02:00:00+00:00: key")


def often_of(app: Celery) -> tuple[str, Submitter]:
    return submitter_of(app, clockwork.often)


def submitter_of(app: Celery, node: object) -> tuple[str, Submitter]:
    """A DAG of the app, and who submits it when its beat says so."""
    (found,) = (each for each in of_app(app, app_context_of(app).settings) if each.node is node)
    clocks = {found.name: Clock(found.schedule, app=app)}
    return found.name, Submitter(Client(app_context_of(app).settings, app), {found.name: found}, clocks)


# -- which DAGs ------------------------------------------------------------------------------------------


def names(app: Celery) -> list[str]:
    return [each.name for each in of_app(app, app_context_of(app).settings)]


def test_dags_of_the_modules_that_are_named_count_and_no_variants_of_them(beats: Beats) -> None:
    assert names(beats.app()) == ["declared", "workers.schedule.clockwork:nightly", "workers.schedule.clockwork:often"]
    assert names(beats.app("json")) == []
    assert len(names(beats.app("json", include=["workers.schedule.clockwork"]))) == 3
    assert len(names(beats.app("workers.schedule"))) == 3  # a package, of which that module is loaded


def test_what_stands_beside_the_app_counts_too(beats: Beats, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("team_of_one")
    module.settings = LazySettings()  # raises when it is asked for its class, as Django's settings before they are made
    module.app, module.nightly = beats.app("json"), clockwork.nightly
    monkeypatch.setitem(sys.modules, "team_of_one", module)
    assert names(module.app) == ["workers.schedule.clockwork:nightly"]


@pytest.mark.parametrize(
    ("added", "told"),
    [
        (DAG(NODES, name="declared", options=YEARLY), "two DAGs named 'declared': have a schedule"),
        (DAG(NODES, options=YEARLY), "a DAG with the schedule 0 0 1 1 *: has no name; give DAG(..., name='nightly')"),
        (DAG(NODES, {"n": FromParam()}, name="greedy", options=YEARLY), "parameter 'n' has no default"),
    ],
)
def test_what_cannot_be_submitted_by_the_clock_is_refused(
    beats: Beats, monkeypatch: pytest.MonkeyPatch, added: DAG, told: str
) -> None:
    monkeypatch.setattr(clockwork, "added", added, raising=False)
    with pytest.raises(SystemExit, match=re.escape(told)):
        prepare(beats.app())


def test_without_a_schedule_beat_needs_no_store(beats: Beats) -> None:
    app = Celery("plain", broker="amqp://nobody", set_as_current=False)
    attach(app, store_url="redis://127.0.0.1:1/0")
    prepare(app)
    assert app.conf.beat_schedule == {}


def test_beat_says_why_it_does_not_start(beats: Beats) -> None:
    app = beats.app("no_such_module")
    with pytest.raises(SystemExit, match="DAGCELERY_IMPORTS: module 'no_such_module' does not exist"):
        prepare(app)


def test_a_team_s_entries_stay_and_attaching_alone_adds_none(beats: Beats) -> None:
    app = beats.app(beat_schedule={"own": {"task": "own", "schedule": 10.0}})
    assert set(app.conf.beat_schedule) == {"own"}
    prepare(app)
    assert set(app.conf.beat_schedule) == {
        "own",
        "dagcelery declared",
        "dagcelery workers.schedule.clockwork:nightly",
        "dagcelery workers.schedule.clockwork:often",
    }
