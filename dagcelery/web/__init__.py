"""A page for runs, as an ASGI application: ``dagcelery ui`` serves it, and any ASGI framework mounts it.

It needs ``pip install 'dagcelery[web]'``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagcelery.web.access import Token as Token
    from dagcelery.web.application import app as app

__all__ = ["Token", "app"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import them late: a run's page as a file needs no server."""
        if name not in __all__:
            raise AttributeError(f"module 'dagcelery.web' has no attribute '{name}'")
        home = import_module(f"dagcelery.web.{'application' if name == 'app' else 'access'}")
        value = globals()[name] = getattr(home, name)
        return value
