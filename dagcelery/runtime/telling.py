"""Notifying listeners, hooks and log handlers: none of them can change an outcome.

Whatever they raise, exits and interrupts too, is logged once and ends here; only a signal that ends the process passes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar

from dagcelery.runtime.interrupts import is_leaving

P = ParamSpec("P")
T = TypeVar("T")


class QuietLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose handlers and filters cannot raise in the code that logs."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Leave `extra` as the call has it."""
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log, as if this method was not there."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        try:
            super().log(level, msg, *args, **kwargs)
        except BaseException as error:
            if is_leaving(error):
                raise
            with suppress(Exception):  # where a log is broken, there is nowhere left to say so
                _last_resort.handle(_record_of(self.name, error))


_last_resort = logging.StreamHandler()


def _record_of(name: str, error: BaseException) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 0, "a log handler raised %r", (error,), None)


def quiet_logger(name: str) -> QuietLogger:
    """Return the logger of a module."""
    return QuietLogger(logging.getLogger(name), {})


log = quiet_logger(__name__)


def tell(listener: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Call a listener here, in the context that it was called in; None if it raised."""
    try:
        return listener(*args, **kwargs)
    except BaseException as error:
        if is_leaving(error):
            raise
        log.exception("a listener raised, which changes nothing: %r", listener, extra={"action": "listener_failed"})
        return None


def tell_apart(listener: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Call a listener in a copy of the context, so that what it sets there is gone after it; None if it raised."""
    return copy_context().run(lambda: tell(listener, *args, **kwargs))
