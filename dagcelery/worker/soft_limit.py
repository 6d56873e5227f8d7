"""Celery's exception of a soft time limit; on its own, since `invoke` hands it to the engine without loading Celery."""

from __future__ import annotations


def soft_time_limit() -> Exception:
    """Return the exception that users of Celery catch; Celery is loaded when a limit is reached."""
    from celery.exceptions import SoftTimeLimitExceeded

    error: Exception = SoftTimeLimitExceeded()
    return error
