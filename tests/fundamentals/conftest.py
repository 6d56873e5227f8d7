"""An app that is always eager: what `submit` sends is run at once, in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from dagcelery import attach
from dagcelery.client import set_default


@pytest.fixture
def eager() -> Iterator[Celery]:
    """A team's own app, to which dagcelery is attached."""
    app = Celery("team", broker="memory://")
    app.conf.task_always_eager = True
    replaced = set_default(None)
    attach(app)
    yield app
    set_default(replaced)
