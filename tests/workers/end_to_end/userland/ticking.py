"""A DAG with a schedule, and a beat of the team's app that is told that its time has come."""

from __future__ import annotations

from datetime import datetime

import sentry_sdk
from celery.beat import Scheduler

from dagcelery import dag, task
from dagcelery.worker.beat import prepare


@task(queue="nobody")
def tick() -> int:
    return 1


@dag(schedule="*/5 * * * *")
def often() -> int:
    return tick()


def come() -> None:
    """Let one tick come."""
    from beside_team import app

    now = datetime.fromisoformat("2026-01-01T00:01:00+00:00")
    app.now = lambda: now  # type: ignore[method-assign]  # Celery's clock
    prepare(app)
    beat = Scheduler(app)
    now = datetime.fromisoformat("2026-01-01T00:05:00+00:00")
    while beat.tick() == 0:
        pass
    sentry_sdk.flush()
