"""A page over a world in this process, and a browser that has a session."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from starlette.types import ASGIApp

from dagcelery.client import Client
from dagcelery.engine.run_control import RunControl
from dagcelery.store.protocol import Store
from dagcelery.web import Token, app

from ..engine.worlds import World

HOST = "http://localhost"


class WorldClient(Client):
    """A client whose runs are those of a world."""

    def __init__(self, world: World) -> None:
        super().__init__(world.settings)
        self._page = world.engine("page")

    @property
    def control(self) -> RunControl:
        """As a process has it that sees only the store."""
        return self._page

    @property
    def store(self) -> Store:
        """The world's."""
        return self._page.store


class Browser:
    """Somebody who asks an application, and keeps its cookies."""

    def __init__(self, application: ASGIApp, base_url: str = HOST) -> None:
        self.cookies = httpx.Cookies()
        self._application = application
        self._base_url = base_url

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Ask."""
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Ask for something to be done."""
        return self.ask("POST", path, **options)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request."""
        return asyncio.run(self._ask(method, path, **options))

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=self._base_url, cookies=self.cookies) as client:
            answer = await client.request(method, path, **options)
            self.cookies = client.cookies
            return answer


def page(world: World, **options: Any) -> Browser:
    """Somebody who asks the page of a world, which has no token if none is given."""
    return Browser(app(WorldClient(world), **options))


def opened(world: World, **options: Any) -> tuple[Browser, dict[str, str]]:
    """Somebody who is let in, and what actions of this browser say."""
    browser = page(world, token=Token("a token for one test"), **options)
    assert browser.post("/api/login", json={"token": "a token for one test"}).status_code == 204
    return browser, {"X-CSRF-Token": browser.get("/api/session").json()["csrf"]}
