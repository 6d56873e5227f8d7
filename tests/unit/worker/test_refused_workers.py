"""A worker that could not do its work is refused as it starts, in a sentence, with an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency import prefork, solo, thread
from celery.concurrency.base import BasePool

from dagcelery.errors import NotConfigured
from dagcelery.worker import heartbeat


class Greenlets(BasePool):  # type: ignore[misc]
    """A pool that nobody has tried."""


class Own(prefork.TaskPool):  # type: ignore[misc]
    """A team's variant of Celery's own."""


def check(monkeypatch: pytest.MonkeyPatch, pool: type[Any], autoscale: tuple[int, int] | None = None) -> None:
    monkeypatch.setattr(heartbeat, "app_context_of", lambda app: SimpleNamespace(engine=None))
    heartbeat.check(SimpleNamespace(app=None, pool_cls=pool, autoscale=autoscale))


@pytest.mark.parametrize(
    ("pool", "autoscale", "why"),
    [
        (Greenlets, None, r"pool .*test_refused_workers:Greenlets: start it with --pool prefork, threads or solo"),
        (thread.TaskPool, (6, 1), r"--autoscale cannot change the pool .*: use --pool prefork, or --concurrency"),
        (solo.TaskPool, (6, 1), r"--autoscale cannot change the pool"),
    ],
)
def test_what_does_not_go_is_said_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, pool: type[Any], autoscale: tuple[int, int] | None, why: str
) -> None:
    with pytest.raises(NotConfigured, match=why):
        check(monkeypatch, pool, autoscale)


@pytest.mark.parametrize("pool", [prefork.TaskPool, thread.TaskPool, solo.TaskPool, Own])
def test_what_goes_is_not_refused(monkeypatch: pytest.MonkeyPatch, pool: type[Any]) -> None:
    check(monkeypatch, pool)


def test_a_refused_worker_ends_with_that_sentence_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pools.py").write_text("from celery.concurrency.base import BasePool\n")
    custom = {"CELERY_CUSTOM_WORKER_POOL": "pools:BasePool", "DAGCELERY_STORE_URL": "redis://127.0.0.1:1"}
    command = [sys.executable, "-m", "celery", "-q", "-A", "dagcelery", "worker", "-P", "custom"]
    ended = subprocess.run(command, env=os.environ | custom, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("Error: pieces cannot be executed in the pool")
    assert "Traceback" not in ended.stderr
