"""The Celery app of a worker that a harness disturbs: ``celery -A dagcelery.testing.worker``.

It is another app, dagcelery's own unless ``DAGCELERY_FAULTS`` names one, with faults put between it and the world.
"""

from __future__ import annotations

import os

from celery import Celery
from celery.app.utils import find_app

from dagcelery.errors import NotConfigured
from dagcelery.store.protocol import Store
from dagcelery.store.redis import store_on_redis
from dagcelery.testing.disturbed import VARIABLE, Disturbance, disturb, mortal_store
from dagcelery.worker.app_context import app_context_of


def disturbed_app() -> Celery:
    """Find the app, and put the faults that the environment asks for around its store and its messages."""
    wanted = Disturbance.from_environment(os.environ)
    if wanted is None:
        raise NotConfigured(
            f"{VARIABLE} is not set, and this app is for disturbed workers only",
            "start workers with dagcelery.testing.faults, or use another app",
        )
    found: Celery = find_app(wanted.app)
    mortal = disturb(found, wanted)

    def opened(url: str) -> Store:
        return mortal_store(store_on_redis(url), mortal)

    app_context_of(found).open_store = opened
    return found


def __getattr__(name: str) -> Celery:
    """Make the app when Celery asks for it: whoever only reads this module is not disturbed."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["app"] = made = disturbed_app()
    return made
