"""A team's app that names a module of DAGs with schedules."""

from __future__ import annotations

from celery import Celery

from dagcelery import attach

app = Celery("team", broker="redis://127.0.0.1:1/0", set_as_current=False, include=["workers.schedule.clockwork"])
attach(app)
