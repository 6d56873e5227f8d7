"""A team's Celery app that finds its tasks as Celery does, and only attaches dagcelery: no key, no list of modules."""

from __future__ import annotations

import json
import os

from celery import Celery

from dagcelery import attach

app = Celery("keyless", broker=os.environ["TEAM_BROKER"], backend=os.environ["TEAM_BACKEND"])
app.conf.update(json.loads(os.environ["TEAM_OPTIONS"]))
app.conf.update(
    task_default_queue="keyless", broker_connection_retry_on_startup=True, dagcelery_result_ttl_seconds=1234
)
app.autodiscover_tasks(["orders"])
client = attach(app)
