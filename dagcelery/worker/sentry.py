"""Sentry sees pieces as it sees Celery's tasks, where a team has initialised it with its integration for Celery.

That integration wraps the functions of tasks: but ours work on many pieces, and raise nothing. So each piece gets a
scope of its own here, with tags, and the error of each final failure is captured. An attempt that is repeated and an
item that may be left out are no events; the log has them.

Nothing is imported for it: in a process that has not initialised Sentry, nothing happens. The road not taken is to let
its integration for logging make events of our lines: where that is off there would be none, and all failures of
sensitive tasks would be one issue.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from dagcelery.payload import failures

_TAGS: Final = ("run", "dag", "node", "item", "attempt", "queue")

_OUR_LINES: Final = "dagcelery.worker.signals"


def is_watched() -> bool:
    """Return whether Sentry watches Celery's tasks in this process."""
    return _sdk() is not None


def _sdk() -> Any:
    sdk = sys.modules.get("sentry_sdk")
    if sdk is None or not hasattr(sdk, "isolation_scope"):  # older than 2.0
        return None
    return sdk if sdk.get_client().get_integration("celery") is not None else None


@contextmanager
def scope_of_piece(name: str, task_id: str, about: Mapping[str, Any]) -> Iterator[None]:
    """Let what is captured in this context be the piece's own; what it sets there is gone with it."""
    sdk = _sdk()
    if sdk is None:
        yield
        return

    def describe(event: Any, hint: Any) -> Any:
        """Name the piece, where the integration names the message that it came with."""
        event.setdefault("tags", {})["celery_task_id"] = task_id
        event.setdefault("extra", {})["celery-job"] = {"task_name": name}
        if event.get("type") != "transaction":
            event["transaction"] = name
        return event

    with sdk.isolation_scope() as scope:
        scope.set_tags({tag: str(about[tag]) for tag in _TAGS if about.get(tag) is not None})
        scope.add_event_processor(describe)
        yield


def forget_breadcrumbs() -> None:
    """Drop what a scope has inherited from what its message did before."""
    sdk = _sdk()
    if sdk is not None:
        sdk.get_isolation_scope().clear_breadcrumbs()


def capture(error: BaseException, name: str, task_id: str, about: Mapping[str, Any]) -> None:
    """Send the error of a final failure, in the scope of its piece if this is called within."""
    sdk = _sdk()
    if sdk is None:
        return
    logging = sys.modules.get("sentry_sdk.integrations.logging")
    if logging is not None:
        logging.ignore_logger(_OUR_LINES)  # which say the same once more
    options = {"client_options": sdk.get_client().options, "mechanism": {"type": "celery", "handled": False}}
    with scope_of_piece(name, task_id, about):
        trace = failures.from_users_code(error.__traceback__)
        event, hint = sdk.utils.event_from_exception((type(error), error, trace), **options)
        if isinstance(error, failures.Masked):
            event.setdefault("extra", {})["traceback"] = error.described["traceback"]
        sdk.capture_event(event, hint=hint)
