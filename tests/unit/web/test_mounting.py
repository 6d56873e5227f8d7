"""The page in an application of others: behind its routes, and with its login."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path as django_path
from fastapi import FastAPI
from flower import urls
from flower.app import Flower
from flower.options import default_options
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from dagcelery import dag, task
from dagcelery.web import app
from dagcelery.web.behind_flower import routes

from ..engine.worlds import World
from .pages import Browser, WorldClient


@task
def one() -> int:
    return 1


@dag
def single() -> int:
    return one()


def in_starlette(page: ASGIApp) -> ASGIApp:
    return Starlette(routes=[Mount("/dags", page)])


def in_fastapi(page: ASGIApp) -> ASGIApp:
    application = FastAPI()
    application.mount("/dags", page)
    return application


urlpatterns = [django_path("", lambda request: HttpResponse("the shop"))]


def in_django(page: ASGIApp) -> ASGIApp:
    if not settings.configured:
        settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 50)
    return Starlette(routes=[Mount("/dags", page), Mount("/", get_asgi_application())])


@pytest.mark.parametrize("around", [in_starlette, in_fastapi, in_django])
def test_the_page_may_be_mounted_anywhere(around: Any) -> None:
    world = World()
    run_id = world.submit(single)
    browser = Browser(around(app(WorldClient(world), actions=True)))
    if around is not in_django:
        assert browser.get("/dags").headers["location"].endswith("localhost/dags/")
    assert 'src="static/' in browser.get("/dags/").text
    assert browser.get("/dags/static/login.js").status_code == 200
    session = browser.get("/dags/api/session")
    assert "Path=/dags;" in session.headers["set-cookie"]
    headers = {"X-CSRF-Token": session.json()["csrf"]}
    assert browser.post(f"/dags/api/runs/{run_id}/cancel", json={}, headers=headers).json() == {"state": "cancelled"}
    if around is in_django:
        assert browser.get("/").text == "the shop"


# -- Flower -----------------------------------------------------------------------------------------
@pytest.fixture
def flower_options() -> Iterator[Any]:
    """Flower's options, which are those of its process."""
    kept = {name: getattr(default_options, name) for name in ("basic_auth", "read_only")}
    handlers = list(urls.handlers)
    yield default_options
    urls.handlers[:] = handlers
    for name, value in kept.items():
        setattr(default_options, name, value)


async def ask(world: World, login: tuple[str, str] | None, asks: Any) -> Any:
    """Let somebody ask a Flower that serves the page of a world."""
    urls.handlers[:0] = routes("/dags", WorldClient(world), actions=True)
    (listening,) = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Flower(options=default_options, events=object()))
    server.add_sockets([listening])
    try:
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=base, auth=login) as client:
            return await asks(client)
    finally:
        server.stop()
        await server.close_all_connections()


async def cancel(client: httpx.AsyncClient, run_id: str) -> httpx.Response:
    headers = {"X-CSRF-Token": (await client.get("/dags/api/session")).json()["csrf"]}
    return await client.post(f"/dags/api/runs/{run_id}/cancel", json={}, headers=headers)


def test_whom_flower_lets_in_sees_the_page_and_may_act_unless_it_only_reads(flower_options: Any) -> None:
    world = World()
    run_id = world.submit(single)
    flower_options.basic_auth = ["ann:secret"]

    async def asks(client: httpx.AsyncClient) -> tuple[str, Any, httpx.Response, str]:
        index = (await client.get("/dags/")).text
        assert (await client.get("/dags")).headers["location"].endswith("/dags/")
        told = (await client.get(f"/dags/api/runs/{run_id}")).json()
        flower_options.read_only = True
        refused = await cancel(client, run_id)
        flower_options.read_only = False
        assert (await cancel(client, run_id)).json() == {"state": "cancelled"}
        stream = (await client.get(f"/dags/api/runs/{run_id}/live")).text
        return index, told, refused, stream

    index, told, refused, stream = asyncio.run(ask(world, ("ann", "secret"), asks))
    assert 'src="static/' in index
    assert told["run"]["id"] == run_id
    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "NotAllowed")
    assert re.findall("event: (.*)", stream) == ["status", "end"]


@pytest.mark.parametrize(("logins", "login", "status"), [(["ann:secret"], ("ann", "guessed"), 401), ([], None, 403)])
def test_whom_flower_does_not_let_in_sees_nothing(
    flower_options: Any, logins: list[str], login: tuple[str, str] | None, status: int
) -> None:
    flower_options.basic_auth = logins

    async def asks(client: httpx.AsyncClient) -> set[int]:
        return {(await client.get(f"/dags{path}")).status_code for path in ("", "/", "/api/runs", "/static/login.js")}

    assert asyncio.run(ask(World(), login, asks)) == {status}
