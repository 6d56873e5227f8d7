"""The page for runs, served from the command line: ``dagcelery ui``."""

from __future__ import annotations

import secrets
import socket
from typing import Any

import click

from dagcelery import client
from dagcelery.cli.targets import prepare_modules, settings
from dagcelery.errors import NotConfigured

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--allow-host", "names", multiple=True, metavar="NAME", help="Another name that the page is opened by.")
@click.option("--read-only", is_flag=True, help="Show runs, and let nobody cancel, resume, retry or delete them.")
def ui(host: str, port: int, names: tuple[str, ...], read_only: bool) -> None:
    """Serve the page for runs until Ctrl-C, and print how to open it.

    A browser is let in that shows the token which is printed behind the #; it serves once. With DAGCELERY_WEB_TOKEN set
    nothing secret is printed, and any browser that has that token is let in. Behind a proxy name the page's own name
    with --allow-host.
    """
    web, uvicorn = _installed()
    found = client.default_client()
    prepare_modules()
    given = settings().web_token
    text = given or secrets.token_urlsafe(32)
    page = web.app(
        found,
        actions=not read_only,
        token=web.Token(text, single_use=not given),
        hosts=(*_LOOPBACK, host, *names),
    )
    listening = _bound(host, port)
    with listening:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}/"
        if given:
            click.echo(f"{address}  asks for the token in DAGCELERY_WEB_TOKEN")
        else:
            click.echo(f"{address}#token={text}")
            click.echo("The token serves once, and lets that browser in for 12 hours; Ctrl-C ends the page.", err=True)
        config = uvicorn.Config(
            page,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            lifespan="off",
        )
        uvicorn.Server(config).run(sockets=[listening])


def _installed() -> tuple[Any, Any]:
    """Import the page and its server, or say what to install."""
    try:
        import uvicorn

        from dagcelery import web
    except ModuleNotFoundError as error:
        raise NotConfigured(
            f"the page needs {error.name}, which is not installed", "pip install 'dagcelery[web]'"
        ) from error
    return web, uvicorn


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        message = f"{host}:{port} cannot be listened on: {error.strerror or error}; choose another one with --port"
        raise click.ClickException(message) from error
