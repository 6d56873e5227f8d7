"""Which code a worker has: noted when it starts, and answered through Celery's remote control."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
from importlib.metadata import version
from typing import Any, Final

from celery import Celery
from celery.worker.control import inspect_command

from dagcelery.runtime.binding import known_binding

COMMAND: Final = "dagcelery_versions"

_noted: dict[int, dict[str, str]] = {}


@inspect_command(name=COMMAND)
def versions(state: Any) -> dict[str, str]:
    """Versions of dagcelery, Celery and Python, and a hash of the file of each module that this worker was told of."""
    found = {name: version(name) for name in ("dagcelery", "celery")}
    return found | {"python": platform.python_version()} | _noted.get(id(state.app), {})


def note(app: Celery) -> None:
    """Note what the files of an app's modules hold as its worker starts: they may change while it runs."""
    binding, loader = known_binding(app), app.loader
    imports = () if binding is None else binding.settings.imports
    names = {*imports, *map(str, getattr(loader, "task_modules", ()))}
    digests = {name: _digest(name) for name in sorted(names)}
    _noted[id(app)] = {name: digest for name, digest in digests.items() if digest}


def _digest(name: str) -> str:
    """A hash of a module's file, or "" where there is none."""
    try:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.has_location or not spec.origin:
            return ""
        with open(spec.origin, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()[:12]
    except (ImportError, ValueError, OSError):
        return ""
