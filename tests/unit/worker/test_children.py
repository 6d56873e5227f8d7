"""What a child of a worker had claimed when it ended is given back as soon as Celery reports its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import Terminated

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
