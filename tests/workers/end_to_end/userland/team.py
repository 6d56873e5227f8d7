"""A team's own Celery app, with a task of its own and dagcelery attached."""

from __future__ import annotations

import json
import os

from celery import Celery

from dagcelery import attach

app = Celery("team", broker=os.environ["TEAM_BROKER"], backend=os.environ["TEAM_BACKEND"])
app.conf.update(json.loads(os.environ["TEAM_OPTIONS"]))
app.conf.update(task_default_queue="team", broker_connection_retry_on_startup=True, include=["pipelines"])
before = dict(app.conf.changes)
client = attach(app)


@app.task
def own(x: int) -> int:
    return x + 100
