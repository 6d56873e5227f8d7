"""A page for runs, as an ASGI application: ``dagcelery ui`` serves it, and any ASGI framework mounts it.

It needs ``pip install 'dagcelery[web]'``.
"""

from dagcelery.web.access import Token
from dagcelery.web.server import app

__all__ = ["Token", "app"]
