"""The shop's Celery app, as in Celery's guide for Django; the last line is dagcelery's."""

import os

from celery import Celery

from dagcelery import attach

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
client = attach(app)
