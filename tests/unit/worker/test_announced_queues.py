"""A worker announces the queues that it consumes now, also those that it was told to consume later."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from dagcelery.settings import Settings
from dagcelery.worker.heartbeat import Heartbeat


def test_queues_that_were_added_are_announced_and_kept_while_there_is_no_connection() -> None:
    announced: list[list[str]] = []
    fleet = SimpleNamespace(heartbeat=lambda worker_id, queues, *others, yields: announced.append(list(queues)))
    context: Any = SimpleNamespace(
        settings=Settings(), later_priority=None, store=SimpleNamespace(fleet=fleet), keyring=SimpleNamespace(ids=())
    )
    queues = [SimpleNamespace(name="first")]
    consumer = SimpleNamespace(controller=SimpleNamespace(concurrency=2), task_consumer=SimpleNamespace(queues=queues))
    heartbeat = Heartbeat(context, "worker", consumer)
    heartbeat.announce()
    queues.append(SimpleNamespace(name="second"))
    heartbeat.announce()
    consumer.task_consumer = None  # type: ignore[assignment]
    heartbeat.announce()
    assert announced == [["first"], ["first", "second"], ["first", "second"]]
