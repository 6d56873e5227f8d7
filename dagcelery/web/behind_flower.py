"""The page behind Flower's login. Flower has no plug-ins, but its configuration file may put routes before its own:

    from flower import urls
    from dagcelery.web.behind_flower import routes
    urls.handlers[:0] = routes("/dags")

The page is served by Flower's own process, so there is nothing to be proxied, and no second login.
"""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

from flower.views import BaseHandler
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Scope
from tornado.routing import URLSpec
from tornado.web import HTTPError, authenticated, url

from dagcelery.client import Client
from dagcelery.web.application import app

_READ_ONLY = "dagcelery.flower_is_read_only"


def routes(prefix: str = "/dags", client: Client | None = None, *, actions: bool = False) -> list[URLSpec]:
    """Return what is to be put before `flower.urls.handlers`.

    Whoever Flower lets in sees the page; a Flower without a login does not serve it. With `actions` they may cancel,
    resume, retry and delete, unless Flower is started with ``--read-only``.
    """

    def authorize(request: Request, action: str) -> bool:
        return action == "read" or (actions and not request.scope[_READ_ONLY])

    # Not a tuple, of which Flower would drop what stands behind the handler where it has a prefix itself.
    return [url(rf"{prefix}(|/.*)", _Page, {"page": app(client, authorize=authorize)})]


class _Page(BaseHandler):  # type: ignore[misc]  # Flower has no types
    """Passes a request to the page, and its answer back, piece by piece."""

    def initialize(self, page: ASGIApp) -> None:
        self._page = page
        self._gone = asyncio.Event()

    def check_xsrf_cookie(self) -> None:
        """The page has a check of its own, which its scripts know."""

    def on_connection_close(self) -> None:
        self._gone.set()

    @authenticated
    async def get(self, path: str) -> None:
        await self._serve(path)

    head = post = get

    async def _serve(self, path: str) -> None:
        options = self.application.options
        if not (options.basic_auth or options.auth):
            raise HTTPError(403, "Flower has no login: set basic_auth or auth to see runs here")
        asked = True

        async def receive() -> Message:
            nonlocal asked
            if asked:
                asked = False
                return {"type": "http.request", "body": self.request.body or b"", "more_body": False}
            await self._gone.wait()
            return {"type": "http.disconnect"}

        scope = {**self._scope(path), _READ_ONLY: bool(options.read_only)}
        await self._page(scope, receive, self._answer)

    def _scope(self, path: str) -> Scope:
        request = self.request
        whole = unquote(request.path)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.protocol,
            "path": whole,
            "raw_path": request.path.encode(),
            "root_path": whole.removesuffix(unquote(path)),
            "query_string": request.query.encode(),
            "headers": [(name.lower().encode(), text.encode("latin-1")) for name, text in request.headers.get_all()],
            "client": (request.remote_ip, 0),
            "server": (request.host, None),
        }

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.set_status(message["status"])
            self.clear_header("Content-Type")
            for name, text in message["headers"]:
                self.add_header(name.decode("latin-1"), text.decode("latin-1"))
        elif not self._gone.is_set():
            self.write(message.get("body", b""))
            if message.get("more_body"):
                await self.flush()
