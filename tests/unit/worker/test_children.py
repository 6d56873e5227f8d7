"""What a child of a worker had claimed when it ended is given back as soon as Celery reports its end, and what has no
child of its own is ended as far as it can be.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import Terminated
from celery.concurrency import solo, thread
from celery.exceptions import WorkerTerminate

from dagcelery.store.records import Lost
from dagcelery.worker import heartbeat
from dagcelery.worker.app import WORKER_ID


def test_a_child_that_was_ended_by_order_has_died_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[tuple[str, Lost]] = []
    monkeypatch.setenv(WORKER_ID, "w~1")
    monkeypatch.setattr(heartbeat, "app_context_of", lambda app: None)
    monkeypatch.setattr(heartbeat, "look_after", lambda context, run_id, lost: swept.append((run_id, lost)))
    request: Any = object.__new__(heartbeat.Reported)
    request._task, request._kwargs, request.worker_pid = SimpleNamespace(app=None), {"run": "a run"}, 7
    request._already_revoked, request.id = True, "a message"  # as `revoke(terminate=True)` leaves it
    request.on_failure(SimpleNamespace(exception=Terminated(15)))
    assert swept == [("a run", Lost(left=["w~1:7"]))]


def request_in(monkeypatch: pytest.MonkeyPatch, *, is_in_signal: bool) -> Any:
    monkeypatch.setattr(heartbeat, "_is_in_signal", lambda: is_in_signal)
    request: Any = object.__new__(heartbeat.Reported)
    request.time_start, request.worker_pid, request._apply_result = 1.0, 7, None
    return request


def test_a_cold_stop_ends_the_call_that_its_signal_interrupts_in_the_pool_solo(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkerTerminate):
        request_in(monkeypatch, is_in_signal=True).cancel(solo.TaskPool())


@pytest.mark.parametrize("ask", ["cancel", "terminate"])
@pytest.mark.parametrize(("pool", "is_in_signal"), [(solo.TaskPool, False), (thread.TaskPool, True)])
def test_what_no_pool_can_end_goes_on(monkeypatch: pytest.MonkeyPatch, pool: Any, is_in_signal: bool, ask: str) -> None:
    getattr(request_in(monkeypatch, is_in_signal=is_in_signal), ask)(pool(1))
