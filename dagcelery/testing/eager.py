"""A client whose runs are over when `submit` returns: they run in this process, on a store in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dagcelery.client import Client
from dagcelery.local.cluster import default_client
from dagcelery.settings import Settings
from dagcelery.store.cache import OF_THIS_PROCESS

if TYPE_CHECKING:
    from dagcelery.worker.app import AppContext


class EagerClient(Client):
    """A client on an app of its own that is always eager; Celery is imported when something is submitted."""

    @property
    def app_context(self) -> AppContext:
        """Our tasks on the app."""
        app_context = super().app_context
        app_context.app.conf.task_always_eager = True
        return app_context


def eager_client() -> EagerClient:
    """A client with this process's settings, but for the addresses: nothing is sent or remembered anywhere."""
    return EagerClient(Settings.from_environment(broker_url="memory://", store_url=""))


@contextmanager
def in_process() -> Iterator[EagerClient]:
    """Make an eager client the default one while a block runs, which finds no results that tasks had kept before."""
    OF_THIS_PROCESS.clear()
    client = eager_client()
    with default_client(client):
        yield client
