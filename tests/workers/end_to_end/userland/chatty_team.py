"""A team's Celery app on the broker that the environment names."""

from __future__ import annotations

import os

from celery import Celery

from dagcelery import attach

app = Celery("team", broker=os.environ["DAGCELERY_BROKER_URL"])
attach(app)
