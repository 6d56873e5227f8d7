"""A page for runs, as an ASGI application: ``dagcelery ui`` serves it, and any ASGI framework mounts it.

It needs ``pip install 'dagcelery[web]'``. Names are imported when they are first used: what is no server needs none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagcelery.web.access import Token as Token
    from dagcelery.web.server import app as app

_HOMES = {"Token": "access", "app": "server"}

__all__ = ["Token", "app"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'dagcelery.web' has no attribute '{name}'")
        return getattr(import_module(f"dagcelery.web.{_HOMES[name]}"), name)
