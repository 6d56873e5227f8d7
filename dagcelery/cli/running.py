"""A run from the command line: submitted, waited for, and its result printed; perhaps on workers of this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import click

from dagcelery import client
from dagcelery.cli.progress import show_run
from dagcelery.cli.targets import Target
from dagcelery.errors import DagceleryError
from dagcelery.planner.routing import queues_of

C = TypeVar("C", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def running(command: C) -> C:
    """Give a command the options of a run: `local`, `watch`, `timeout` and `as_json`."""
    options = [
        click.option("--local", type=click.IntRange(1), metavar="N", help="Start a server and N workers for this run."),
        click.option("--watch", is_flag=True, help="Show each node's progress."),
        click.option("--timeout", type=float, metavar="SECONDS", help="Stop waiting after this time; the run goes on."),
        as_json,
    ]
    for option in reversed(options):
        command = option(command)
    return command


def run_to_its_end(
    target: Target,
    params: dict[str, Any],
    local: int | None,
    *,
    watch: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Submit a target, wait for its result, and print it as JSON; on `local` worker processes, if they are given."""
    with workers_for(target.dag(params), local) if local else nullcontext():
        submitted = target.submit(params)
        told: dict[str, object] = {"id": submitted.id}
        try:
            if watch:
                show_run(submitted)
            told["result"] = submitted.result(timeout)
        except DagceleryError as error:
            told["error"] = str(error)
            raise
        except KeyboardInterrupt:
            if not local:
                click.echo(f"run {submitted.id} goes on; see it with: dagcelery status {submitted.id}", err=True)
            raise
        finally:
            if as_json and len(told) > 1:
                click.echo(to_json(told | {"state": str(submitted.state)}))
        if not as_json:
            click.echo(to_json(told["result"]))


def workers_for(node: client.Node, processes: int) -> AbstractContextManager[object]:
    """Start workers on this machine that consume whatever a DAG needs."""
    from dagcelery.local import cluster

    return cluster(processes, queues=queues_of(client.plan_of(node)))


def to_json(value: object) -> str:
    """Write a value for standard output; what JSON cannot hold is written as Python shows it.

    JSON itself escapes some characters that a terminal would obey, and this the others.
    """
    text = json.dumps(value, ensure_ascii=False, default=repr)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)
