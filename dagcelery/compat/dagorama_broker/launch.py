"""`dagorama_broker.launch`: a broker for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dagcelery.local import cluster
from dagcelery.settings import Settings

__all__ = ["launch_broker"]


@contextmanager
def launch_broker(port: int | None = None) -> Iterator[None]:
    """Run a server of this machine for definitions that are called in the block, and for workers launched in it.

    Where DAGCELERY_BROKER_URL and DAGCELERY_STORE_URL say which server there is, it is used. Any free `port` is taken.

    Raises NotConfigured.
    """
    settings = Settings.from_environment()
    if settings.broker_url and settings.store_url:
        yield
        return
    with cluster(workers=0):
        yield
