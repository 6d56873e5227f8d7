"""dagcelery's own Celery app, configured from the environment: what ``celery -A dagcelery`` runs."""

from __future__ import annotations

from dagcelery.runtime.app import make_app
from dagcelery.settings import Settings

app = make_app(Settings.from_environment())
