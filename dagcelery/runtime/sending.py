"""Errors at sending: the broker is unavailable, or the app is configured wrongly."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from celery import Celery
from celery.exceptions import OperationalError, QueueNotFound

from dagcelery.errors import BrokerUnavailable, DagceleryError, NotSent
from dagcelery.text import masked

_ANY: Final = "messages go as those of the app's other tasks: look at its task_routes, task_annotations and base class"


@contextmanager
def sending_errors(app: Celery) -> Iterator[None]:
    """Raise BrokerUnavailable or NotSent where Celery, its transport or the app's own code raises at sending."""
    try:
        yield
    except DagceleryError:
        raise
    except Exception as error:  # a transport, and an app's own class of tasks, raise what they like
        raise cause_of(app, error) from error


def cause_of(app: Celery, error: Exception) -> BrokerUnavailable | NotSent:
    """Return what an error at sending, or connecting, stands for."""
    url = shown_broker(app)
    if isinstance(error, _of_brokers(app)):
        return BrokerUnavailable(str(error), url)
    return NotSent(f"{type(error).__name__}: {error}", _remedy(app, error, url))


def shown_broker(app: Celery) -> str:
    """Return the address, or the addresses, of an app's broker with secrets hidden."""
    found: Any = app.conf.broker_url or ""
    return masked(found if isinstance(found, str) else ";".join(map(str, found)))


def _of_brokers(app: Celery) -> tuple[type[BaseException], ...]:
    """The errors by which a broker is unavailable, or refuses; none for an unknown transport."""
    try:
        connection: Any = app.connection_for_write()
        known = (*connection.connection_errors, *connection.channel_errors)
    except Exception:  # the transport's module raises what it likes
        return ()
    return (OperationalError, OSError, *known)


def _remedy(app: Celery, error: Exception, url: str) -> str:
    raised = traceback.extract_tb(error.__traceback__)[-1:]
    place = raised[0].filename.replace("\\", "/") if raised else ""
    conf: Any = app.conf
    if isinstance(error, ImportError):
        return f"install what provides the module {error.name!r}; the broker's address {url} may need it"
    if place.endswith("kombu/compression.py"):
        return f"task_compression is {conf.task_compression!r}: install the package that does it, or choose another"
    if place.endswith("kombu/transport/__init__.py"):
        return f"write DAGCELERY_BROKER_URL, or broker_url of the app, which is {url}, as Celery knows it"
    if isinstance(error, QueueNotFound):
        return "name the queue in task_queues of the app, or set task_create_missing_queues"
    if isinstance(error, TypeError) and "multiple values" in str(error) and conf.task_routes:
        return "task_routes of the app says what each message says itself; let its routes name queues only"
    return f"it was raised in {place}, line {raised[0].lineno}; {_ANY}" if raised else _ANY
