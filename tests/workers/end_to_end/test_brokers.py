"""What dagcelery asks of a broker, in whatever surroundings: late messages, late acknowledgement, priorities."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, urlsplit

import pipelines
import pytest
import redis

from dagcelery import Run
from dagcelery.client import Client, new_run, plan_of, set_default
from dagcelery.doctor import CheckContext, run_checks
from dagcelery.doctor.checks import check_alarm
from dagcelery.errors import BrokerUnavailable, StoreUnavailable
from dagcelery.settings import Settings
from dagcelery.worker.server_urls import for_redis, is_redis

from .several_servers import store_client
from .site import Site
from .surroundings import CHOSEN, rabbitmq

SECONDS = 60.0


def test_a_message_with_a_countdown_comes_when_its_time_has_come(at: Site) -> None:
    engine = at.client.control
    run = new_run(engine, plan_of(pipelines.map_reduce), {"n": 5}, at.client.settings)
    engine.store.machine.create(run)
    sent = time.monotonic()
    engine.sender.wake_up(run.id, "celery", 1, delay_seconds=1.0)
    assert Run(run.id).result(timeout=SECONDS) == 30
    assert time.monotonic() - sent >= 1.0


def test_what_a_killed_worker_had_in_hand_is_done_by_another(at: Site, tmp_path: Path) -> None:
    file = tmp_path / "go"
    impatient = {"DAGCELERY_HEARTBEAT_SECONDS": "0.2", "DAGCELERY_DEAD_SECONDS": "1"}
    mortal = at.hire("mortal", "-c", "1", "-Q", "mortal", env=impatient)
    mortal.await_ready()
    run = pipelines.wait_for.options(queue="mortal").submit(path=str(file))
    await_running(run)
    mortal.process.kill()
    if not is_redis(at.broker_url):
        assert waiting_on(at, "mortal") == 1  # Redis would keep it until its visibility timeout
    heir = at.hire("heir", "-c", "1", "-Q", "mortal", env=impatient)
    file.write_text("went")
    assert run.result(timeout=SECONDS) == "went"
    heir.process.stop()


@pytest.mark.skipif(CHOSEN != "rabbitmq", reason="DAGCELERY_TEST_SURROUNDINGS is not rabbitmq")
def test_the_doctor_says_that_a_rabbitmq_without_memory_takes_no_messages(at: Site) -> None:
    def told(url: str) -> list[str]:
        client = Client(Settings(broker_url=url, store_url=at.store_url, signing_key="a key"))
        return [str(each) for each in run_checks(CheckContext(client.app_context), [check_alarm])]

    with rabbitmq("vm_memory_high_watermark.relative = 0.00001") as addresses:
        (finding,) = told(addresses["DAGCELERY_BROKER_URL"])
    assert "takes no messages: it has an alarm for its memory or its disk" in finding
    assert told(at.broker_url) == []


def await_running(run: Run[Any]) -> None:
    """Wait until a function of the run is being executed."""
    deadline = time.monotonic() + SECONDS
    while not any(node.running for node in run.status().nodes):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def waiting_on(at: Site, queue: str) -> int:
    """How many messages RabbitMQ would deliver again, once it has noticed that a consumer is gone."""
    deadline = time.monotonic() + SECONDS
    with at.client.app_context.app.connection_for_read() as connection, connection.channel() as channel:
        while not (found := channel.queue_declare(queue, passive=True).message_count) and time.monotonic() < deadline:
            time.sleep(0.02)
    return int(found)


# -- priorities -----------------------------------------------------------------------------------
@pytest.fixture
def ranked(at: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A team's app whose queue has priorities, and one worker process."""
    for name, value in at.team.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGCELERY_SIGNING_KEY", at.cluster.signing_key)
    worker = at.hire("ranked", "-c", "1", "--prefetch-multiplier", "1", app="ranked", env=at.team)
    sys.modules.pop("ranked", None)
    import ranked

    worker.await_ready()
    yield ranked
    worker.process.stop()
    set_default(at.client)


def test_a_queue_with_priorities_carries_ours_and_keeps_the_order_of_theirs(
    ranked: ModuleType, at: Site, tmp_path: Path
) -> None:
    go, notes = tmp_path / "go", tmp_path / "notes"
    held = pipelines.patient.submit(path=str(go))
    await_running(held)
    low, high = (9, 0) if is_redis(at.broker_url) else (0, 9)
    for line, priority in (("low\n", low), ("high\n", high)):
        ranked.note.apply_async((str(notes), line), priority=priority)
    go.write_text("went")
    assert held.result(timeout=SECONDS) == "went"
    run = pipelines.map_reduce.submit(n=50)
    assert run.result(timeout=SECONDS) == sum(x * x for x in range(50))
    assert {node.queue for node in run.status().nodes} == {"ranked"}
    deadline = time.monotonic() + SECONDS
    while not notes.exists() or len(notes.read_text().splitlines()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert notes.read_text() == "high\nlow\n"


# -- addresses ------------------------------------------------------------------------------------
def test_broker_and_store_keep_what_is_theirs(at: Site, raw: redis.Redis) -> None:
    pipelines.map_reduce_gpu.submit(n=10).result(timeout=SECONDS)
    assert raw.exists("dagcelery:workers")
    if at.broker_url == at.store_url:
        return
    assert not list(raw.scan_iter("_kombu.*"))
    if is_redis(at.broker_url):
        with store_client(for_redis(at.broker_url)) as broker:
            assert broker.keys("_kombu.*")
            assert not broker.keys("dagcelery:*")


def with_password(url: str, password: str) -> str:
    """The same address with another password."""
    return re.sub(r"(?<=://)([^:]*):[^@]*@", rf"\1:{password}@", url)


@pytest.mark.parametrize(("wrong", "expected"), [("broker_url", BrokerUnavailable), ("store_url", StoreUnavailable)])
def test_a_wrong_password_is_a_typed_error_that_shows_none(at: Site, wrong: str, expected: type[Exception]) -> None:
    addresses = {"broker_url": at.broker_url, "store_url": at.store_url}
    addresses[wrong] = with_password(addresses[wrong], "my-secret")
    started = time.monotonic()
    with pytest.raises(expected) as caught:
        Client(Settings(signing_key="key", **addresses)).submit(pipelines.map_reduce, {"n": 3})
    told = str(caught.value)
    assert "my-secret" not in told
    assert f":***@{urlsplit(addresses[wrong]).hostname}" in told
    assert time.monotonic() - started < 10


def test_no_address_is_shown_with_its_password(at: Site) -> None:
    shown = repr(at.client.settings)
    for url in (at.broker_url, at.store_url):
        password = urlsplit(url).password
        assert password
        assert password not in shown
        assert quote(password) not in shown
