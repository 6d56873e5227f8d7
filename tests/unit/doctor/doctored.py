"""A team's app that leaves Celery's defaults as they are, and a DAG that needs a worker for gpu."""

from __future__ import annotations

import os

from celery import Celery

from dagcelery import attach, dag, task

app = Celery("team", broker=os.environ.get("DAGCELERY_BROKER_URL", "redis://127.0.0.1:1/0"))
app.conf.broker_connection_retry_on_startup = True
if "DAGCELERY_BROKER_URL" in os.environ:
    attach(app)


@task
def plain() -> int:
    return 1


@task(taint="gpu")
def fast(x: int) -> int:
    return x


@dag
def both() -> int:
    return fast(plain())
