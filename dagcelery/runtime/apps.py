"""What dagcelery reads from a Celery app: settings in its configuration, and the modules of its tasks."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from celery import Celery
from celery.utils.functional import maybe_list

log = logging.getLogger(__name__)

_MARK: Final = "dagcelery_"
_NOT_THEIRS: Final = ("celery", "dagcelery")
"""A spawned child gets the modules of all registered tasks: those of ours and of Celery do not belong to a team."""


def configured(app: Celery) -> dict[str, Any]:
    """Return what ``app.conf.dagcelery_*`` says, by names without that prefix; unknown names too."""
    conf: Any = app.conf
    _ = conf.broker_url  # a configuration is read when it is first asked for something, its namespace too
    prefix = str(conf.prefix or "")
    names = {str(key).removeprefix(prefix).lower() for key in conf if _MARK in str(key).lower()}
    found = {name: conf.get(name) for name in sorted(names) if name.startswith(_MARK)}
    return {name.removeprefix(_MARK): value for name, value in found.items() if value is not None}


class Modules(Collection[str]):
    """The modules, and packages, that unsigned data may name: those of DAGCELERY_IMPORTS, then those in which Celery
    looks for the app's tasks: its `imports` and `include`, what it discovers, and the app's own, if it is named so.

    It is a list that grows late, and only as far as it is asked: an app discovers its tasks when its worker starts,
    and another process may have no need for them. The road not taken are the modules of all registered tasks: libraries
    share theirs with every app of the process.
    """

    def __init__(self, app: Celery, imports: Sequence[str]) -> None:
        self._app = app
        self._imports = imports
        self._discovering = threading.RLock()  # what is imported may ask as well
        self._is_discovered = False

    def __iter__(self) -> Iterator[str]:
        yield from self._imports
        yield from self._named()
        if self._discover():
            yield from self._named()

    def __contains__(self, module: object) -> bool:
        return any(module == known for known in self)

    def __len__(self) -> int:
        return len(set(self))

    def _named(self) -> Iterator[str]:
        names = list(getattr(self._app.loader, "task_modules", ()))
        # A worker adds the modules of all registered tasks to `include`, also those of libraries.
        if not self._is_in_worker:
            conf = self._app.conf
            names += [*maybe_list(conf.imports or ()), *maybe_list(conf.include or ())]
        names += [self._app.main] if _is_one(self._app.main) else []
        yield from (name for name in map(str, names) if name.partition(".")[0] not in _NOT_THEIRS)

    @property
    def _is_in_worker(self) -> bool:
        return bool(getattr(self._app.loader, "worker_initialized", False))

    def _discover(self) -> bool:
        """Let the app find its tasks, as its worker does when it starts; returns whether this was the first time."""
        with self._discovering:
            if self._is_discovered or self._is_in_worker:
                return False
            self._is_discovered = True
            try:
                self._app.loader.import_default_modules()
            except Exception as error:  # their bodies raise what they like
                message = "the tasks of the app '%s' could not all be imported here: %s: %s"
                log.warning(message, self._app.main, type(error).__name__, error, extra={"action": "not_discovered"})
            return True


def _is_one(module: str | None) -> bool:
    """Whether a name is that of a loaded module, and not of a package, whose other modules it would allow."""
    return module in sys.modules and not hasattr(sys.modules[module], "__path__")
