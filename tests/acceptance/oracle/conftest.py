"""A client whose submits run at once, in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from dagcelery import attach
from dagcelery.client import Client, set_default


@pytest.fixture
def eager() -> Iterator[Client]:
    """The default client, on an app that is always eager."""
    app = Celery("eager", broker="memory://")
    app.conf.task_always_eager = True
    replaced = set_default(None)
    yield attach(app)
    set_default(replaced)
