"""A worker announces what it consumes now, and how many messages it has processes for now."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.bootsteps import CLOSE, RUN  # type: ignore[attr-defined]

from dagcelery.settings import Settings
from dagcelery.worker.heartbeat import Heartbeat

Announced = list[tuple[list[str], int]]


@pytest.fixture
def announced() -> Announced:
    return []


@pytest.fixture
def worker() -> Any:
    """A worker of two processes."""
    return SimpleNamespace(
        pool=SimpleNamespace(num_processes=2), autoscaler=None, blueprint=SimpleNamespace(state=RUN), concurrency=7
    )


@pytest.fixture
def consumer(worker: Any) -> Any:
    """Its consumer, of one queue."""
    return SimpleNamespace(controller=worker, task_consumer=SimpleNamespace(queues=[SimpleNamespace(name="first")]))


@pytest.fixture
def heartbeat(announced: Announced, consumer: Any) -> Heartbeat:
    fleet = SimpleNamespace(heartbeat=lambda _, queues, slots, *others, yields: announced.append((list(queues), slots)))
    store, keyring = SimpleNamespace(fleet=fleet), SimpleNamespace(ids=())
    context: Any = SimpleNamespace(settings=Settings(), later_priority=None, store=store, keyring=keyring)
    return Heartbeat(context, "worker", consumer)


def test_what_was_added_is_announced_and_kept_while_there_is_no_connection(
    announced: Announced, consumer: Any, heartbeat: Heartbeat
) -> None:
    heartbeat.announce()
    consumer.task_consumer.queues.append(SimpleNamespace(name="second"))
    consumer.controller.pool.num_processes = 5
    heartbeat.announce()
    consumer.task_consumer = None
    heartbeat.announce()
    assert announced == [(["first"], 2), (["first", "second"], 5), (["first", "second"], 5)]


def test_a_worker_that_scales_itself_has_as_many_as_it_may_grow_to(
    announced: Announced, worker: Any, heartbeat: Heartbeat
) -> None:
    worker.autoscaler = SimpleNamespace(max_concurrency=6)
    heartbeat.announce()
    assert announced == [(["first"], 6)]


def test_a_worker_that_is_being_stopped_consumes_nothing_though_its_pool_still_works(
    announced: Announced, worker: Any, heartbeat: Heartbeat
) -> None:
    heartbeat.announce()
    worker.blueprint.state = CLOSE
    del worker.pool.num_processes
    heartbeat.announce()
    assert announced == [(["first"], 2), ([], 2)]
