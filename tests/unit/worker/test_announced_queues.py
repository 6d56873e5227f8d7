"""A worker announces the queues that it consumes now, and judges others' silence while it is heard itself."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from dagcelery.settings import Settings
from dagcelery.worker import heartbeat as module
from dagcelery.worker.heartbeat import Heartbeat


def a_heartbeat(consumer: Any, said: Callable[..., None]) -> Heartbeat:
    store = SimpleNamespace(fleet=SimpleNamespace(heartbeat=said))
    context: Any = SimpleNamespace(
        settings=Settings(), later_priority=None, store=store, keyring=SimpleNamespace(ids=())
    )
    return Heartbeat(context, "worker", consumer)


def test_queues_that_were_added_are_announced_and_kept_while_there_is_no_connection() -> None:
    announced: list[list[str]] = []
    queues = [SimpleNamespace(name="first")]
    consumer = SimpleNamespace(controller=SimpleNamespace(concurrency=2), task_consumer=SimpleNamespace(queues=queues))
    heartbeat = a_heartbeat(consumer, lambda worker_id, queues, *others, **rest: announced.append(list(queues)))
    heartbeat.announce()
    queues.append(SimpleNamespace(name="second"))
    heartbeat.announce()
    consumer.task_consumer = None  # type: ignore[assignment]
    heartbeat.announce()
    assert announced == [["first"], ["first", "second"], ["first", "second"]]


def test_after_a_pause_of_the_store_nobodys_silence_is_judged_before_all_could_speak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    consumer = SimpleNamespace(controller=SimpleNamespace(concurrency=2), task_consumer=None)
    heartbeat, judged = a_heartbeat(consumer, lambda *_, **rest: None), []
    # A beat each 3 s, and dead after 10 s; between 106 and 120 the store was away.
    for now, is_heard in [(100, 1), (103, 1), (106, 1), (119, 0), (120, 1), (123, 1), (126, 1), (129, 1), (132, 1)]:
        if is_heard:
            heartbeat.announce()
        judged.append((now, heartbeat.may_judge()))
    assert [moment for moment, may_judge in judged if may_judge] == [100, 103, 106, 132]
