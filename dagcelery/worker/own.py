"""dagcelery's own Celery app, configured from the environment: what ``celery -A dagcelery`` runs."""

from __future__ import annotations

from dagcelery.settings import Settings
from dagcelery.worker.app import make_app

app = make_app(Settings.from_environment())

app.set_default()  # for shared tasks of the modules that its workers import; a submitter has an app of its own
