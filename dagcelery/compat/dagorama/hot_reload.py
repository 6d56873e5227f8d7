"""`dagorama.hot_reload`: a worker that starts anew when code changes."""

from __future__ import annotations

import sys

import click

from dagcelery.cli.workers import run_again
from dagcelery.compat.dagorama import cli

__all__ = ["run_hot_reload_worker"]


@click.command()
@click.option("--watch-dir", default=".", help="The folder to watch.")
def run_hot_reload_worker(watch_dir: str) -> None:
    """Run a worker, and run it again whenever Python or YAML changes in a folder; for development."""
    run_again([sys.executable, "-m", cli.__name__], [watch_dir])


if __name__ == "__main__":
    run_hot_reload_worker()
