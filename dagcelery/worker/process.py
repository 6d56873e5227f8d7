"""What the engine asks about the Celery worker around it. `invoke` asks as well, so nothing here loads Celery.

Where Celery or billiard is not loaded this process cannot be one of theirs. That also holds for a task of another app
that calls `invoke`.
"""

from __future__ import annotations

import sys

from dagcelery.engine.interrupts import EngineProcess


class CeleryProcess(EngineProcess):
    """A worker's main process, a child of its pool, or any other process."""

    def soft_time_limit(self) -> Exception:
        """Return the exception that users of Celery catch; Celery is loaded when a limit is reached."""
        from celery.exceptions import SoftTimeLimitExceeded

        error: Exception = SoftTimeLimitExceeded()
        return error

    def is_pool_child(self) -> bool:
        """Return whether this is a child of a prefork pool."""
        process = sys.modules.get("billiard.process")
        return process is not None and type(process.current_process()).__name__ != "_MainProcess"

    def is_exiting(self, error: BaseException) -> bool:
        """Return whether the pool or the worker ends this process by an exit. Their handlers of signals leave no note:
        billiard's may have been set after notes began to be kept, and each shutdown that Celery begins replaces its
        handlers by those of the next, harder one.
        """
        pool = sys.modules.get("billiard.common")
        if pool is not None and pool._should_have_exited[0]:
            return True
        return type(error).__module__.startswith("celery.") and is_worker_stopping()


def is_worker_stopping() -> bool:
    """Return whether the worker that this process is the main process of was told to stop."""
    state = sys.modules.get("celery.worker.state")
    asked = (state.should_stop, state.should_terminate) if state is not None else ()
    return any(each is not None and each is not False for each in asked)
