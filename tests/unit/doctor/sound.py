"""A team's app that is set as it should be."""

from __future__ import annotations

import os

from celery import Celery

from dagcelery import attach

app = Celery("team", broker=os.environ["DAGCELERY_BROKER_URL"], set_as_current=False)
app.conf.worker_prefetch_multiplier = 1
attach(app)
