"""A team that only attaches dagcelery to its app: what Celery finds may run, and settings may stand in app.conf."""

from __future__ import annotations

import sys

import pytest
import redis

from dagcelery.client import set_default
from dagcelery.store.keys import Keys

from .hard import eventually
from .site import USERLAND, Site

SECONDS = 60.0
KEYLESS = {"DAGCELERY_SIGNING_KEY": "", "PYTHONPATH": str(USERLAND)}
"""Where the `celery` script starts, it does not look for modules that it is to discover."""


def test_what_celery_discovers_may_run_without_a_key_and_without_a_list(
    at: Site, monkeypatch: pytest.MonkeyPatch, raw: redis.Redis
) -> None:
    for name, value in at.team.items():
        monkeypatch.setenv(name, value)
    worker = at.hire("keyless", "-c", "1", app="keyless_team", env={**at.team, **KEYLESS})
    try:
        import keyless_team
        from orders.tasks import order

        worker.await_ready()
        run = order.submit(ns=[1, 2, 3])
        assert run.result(SECONDS) == 60
        assert eventually(lambda: (left := raw.ttl(Keys().run(run.id))) <= 1234 and left) > 1000
        assert run.retry_from("bill").result(SECONDS) == 60  # a client that made nothing of it may look at its code
        assert keyless_team.client.app_context.keyring.signed is False
    finally:
        worker.process.stop()
        set_default(at.client)
        sys.modules.pop("keyless_team", None)
