"""The metrics of a store, served for Prometheus: ``dagcelery metrics``."""

from __future__ import annotations

import threading
from typing import Any

import click

from dagcelery import client
from dagcelery.cli.workers import ended_by_signals
from dagcelery.errors import NotConfigured


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=9540, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
def metrics(host: str, port: int) -> None:
    """Serve the metrics of all runs for Prometheus until Ctrl-C or SIGTERM, at /metrics.

    One such process is enough for a store. It asks nobody who they are: another --host than this machine's own lets
    everyone read the names of DAGs, nodes and queues who reaches it.
    """
    serve, registry_of = installed()
    found = client.default_client()
    try:
        server, _ = serve(port, host, registry_of(lambda: found.store, found.settings.dead_seconds))
    except OSError as error:
        message = f"{host}:{port} cannot be listened on: {error.strerror or error}; choose another one with --port"
        raise click.ClickException(message) from error
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"http://{shown}:{server.server_port}/metrics")
    with ended_by_signals():
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


def installed() -> tuple[Any, Any]:
    """Import what serves metrics, or say what to install."""
    try:
        from prometheus_client import start_http_server

        from dagcelery.telemetry.exposition import registry_of
    except ModuleNotFoundError as error:
        problem = f"metrics need {error.name}, which is not installed"
        raise NotConfigured(problem, "pip install 'dagcelery[metrics]'") from error
    return start_http_server, registry_of
