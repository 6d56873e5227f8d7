"""A worker's consumer, of which a broken connection is never the end.

While a Redis goes away, kombu may use a connection that it has closed already, and raises an AttributeError. Celery
does not take that for a lost connection and ends the worker, so each restart of a broker would cost some busy workers.
Ours connect again.
"""

from __future__ import annotations

from typing import Any

from celery.worker.loops import asynloop, synloop

from dagcelery.engine.interrupts import quiet_logger
from dagcelery.worker.sender import is_torn

log = quiet_logger(__name__)


def lasting(consumer: type[Any]) -> type[Any]:
    """Return a class of consumers that connect again, whatever kombu raises over a broken connection."""

    class Lasting(consumer):  # type: ignore[misc]
        def on_connection_error_after_connected(self, exc: Exception) -> None:
            """Close what is left of a connection.

            If another socket than that of BRPOP notices the loss first, kombu reads an answer to BRPOP in vain, which
            ends the first try to close. The second one gives messages back over a connection that is gone by then.
            """
            try:
                super().on_connection_error_after_connected(exc)
            except AttributeError as error:
                if self.connection is not None or not is_torn(error):
                    raise
                log.info("a broken connection could not be closed in order: %s", error, extra={"action": "torn"})
                super().on_connection_error_after_connected(exc)  # does what comes after closing

        def loop(self, *arguments: Any) -> None:
            """Consume until the worker stops or the connection is lost."""
            consume = asynloop if self.hub else synloop
            try:
                # The death of a child that was noticed just before the loss is not complete: its place in the pool has
                # to go, since nothing can watch it.
                self.pool.maintain_pool()
                consume(*arguments)
            except AttributeError as error:
                if not is_torn(error):
                    raise
                raise ConnectionResetError(f"the connection is gone: {error}") from error

    return Lasting
