"""A team's Celery app with dagcelery attached, that the tests of the command line name after ``-A``."""

from __future__ import annotations

import os

from celery import Celery

from dagcelery import attach

app = Celery("team", broker=os.environ.get("TEAM_BROKER", "memory://"))
app.conf.update(
    task_default_queue="sales", include=["unit.cli.targets"], dagcelery_signing_key=os.environ.get("TEAM_KEY", "0" * 16)
)
attach(app, store_url=os.environ.get("TEAM_STORE", "redis://127.0.0.1:1/0"))
