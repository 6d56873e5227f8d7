"""The verbs that look at runs: list, status and watch. People see tables and bars, programs a line for each thing."""

from __future__ import annotations

import sys
import time
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dagcelery import client
from dagcelery.cli.lifecycle import succeed_if_done
from dagcelery.cli.plain import plain
from dagcelery.cli.progress import STYLES, show_run, table
from dagcelery.cli.running import as_json, to_json
from dagcelery.runtime.events import RunEvent
from dagcelery.runtime.results import RunState

_PIPE_WIDTH = 1_000
"""Columns of what is no terminal: nothing is cut off there."""


@click.command(name="list")
@click.option("--dag", "name", metavar="NAME", help="Runs of this DAG only, such as pkg.mod:name.")
@click.option("--state", type=click.Choice([str(state) for state in RunState]), help="Runs in this state only.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, at most.")
@as_json
def list_runs(name: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """Print the newest runs, newest first: when each began, its id, state and DAG."""
    found = client.runs(name, state=state, limit=limit)
    if as_json:
        click.echo(to_json([run.to_dict() for run in found]))
    elif sys.stdout.isatty():
        Console().print(_listing(found))
    else:
        for run in found:
            click.echo("\t".join((_moment(run.created), plain(run.id), str(run.state), plain(run.name))))


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--watch", is_flag=True, help="Stay until the run has ended.")
@click.option("--tree", is_flag=True, help="With --json: items of mapped DAGs and the nodes within, as a tree.")
@as_json
def status(run_id: str, watch: bool, tree: bool, as_json: bool) -> None:
    """Print how far each node of RUN is, and why it waits.

    With --watch the exit code says whether it was done in the end.
    """
    if tree and not as_json:
        raise click.UsageError("--tree needs --json")
    found: client.Run[Any] = client.Run(run_id)
    last = show_run(found) if watch else None
    if as_json:
        click.echo(to_json((found.tree() if tree else found.status()).to_dict()))
    elif not watch:
        console().print(table(found.status()))
    succeed_if_done(last)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--after", default="", metavar="POSITION", help="Begin behind this event; of what --json prints.")
@as_json
def watch(run_id: str, after: str, as_json: bool) -> None:
    """Stay with RUN until it has ended: with bars on a terminal, else with a line for each thing that happens.

    The exit code says whether it was done in the end.
    """
    found: client.Run[Any] = client.Run(run_id)
    if sys.stdout.isatty() and not as_json and not after:
        succeed_if_done(show_run(found, console=Console()))
        return
    for event in found.events(after):
        click.echo(to_json(event.to_dict()) if as_json else line(event))
        sys.stdout.flush()
    succeed_if_done(found.status())


def console() -> Console:
    """Standard output; where it is no terminal, lines are as long as they need to be."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)


def line(event: RunEvent) -> str:
    """Write an event as one line: when, what, where, and how long it took."""
    told = [_moment(event.at), event.kind, event.address or event.state]
    if event.items > 1:
        told.append(f"{event.items:,} items")
    if event.attempt > 1:
        told.append(f"attempt {event.attempt}")
    if event.attempt:
        told.append(f"{event.seconds:.3f} s")
    return plain(" ".join(word for word in told if word))


def _listing(found: list[client.RunSummary]) -> Table:
    drawn = Table(box=None, show_header=False, pad_edge=False)
    for run in found:
        drawn.add_row(
            Text(_moment(run.created), "dim"),
            Text(plain(run.id)),
            Text(str(run.state), STYLES[run.state]),
            Text(plain(run.name)),
            Text(f"{run.ended - run.created:.1f} s" if run.ended else "", "dim"),
        )
    return drawn


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
