"""`dagorama.cli`: ``python -m dagcelery.compat.dagorama.cli`` is dagorama's ``worker``."""

from __future__ import annotations

import click

from dagcelery.compat.dagorama.runner import execute_worker

__all__ = ["worker"]


@click.command()
@click.option("--exclude-queue", multiple=True, help="Leave this queue, or this function as module:Class.method, out.")
@click.option("--include-queue", multiple=True, help="Consume this queue, or this function's, instead of all.")
@click.option("--toleration", multiple=True, help="Run functions with this taint, too.")
def worker(exclude_queue: tuple[str, ...], include_queue: tuple[str, ...], toleration: tuple[str, ...]) -> None:
    """Run a worker until Ctrl-C, for the functions of all programs that called a definition."""
    execute_worker(exclude_queue, include_queue, toleration)


if __name__ == "__main__":
    worker()
