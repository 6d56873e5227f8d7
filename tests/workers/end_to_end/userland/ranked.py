"""A team's app whose queue has priorities, and a task that notes when it ran."""

from __future__ import annotations

import json
import os

from celery import Celery

from dagcelery import attach

app = Celery("ranked", broker=os.environ["TEAM_BROKER"], backend=os.environ["TEAM_BACKEND"])
OPTIONS = json.loads(os.environ["TEAM_OPTIONS"])
app.conf.update(OPTIONS)
app.conf.update(
    task_default_queue="ranked",
    task_queue_max_priority=9,
    broker_transport_options=OPTIONS["broker_transport_options"] | {"queue_order_strategy": "priority"},
    broker_connection_retry_on_startup=True,
    include=["pipelines"],
)
client = attach(app)


@app.task(ignore_result=True)
def note(path: str, line: str) -> None:
    with open(path, "a") as file:
        file.write(line)
