"""The verbs that look at runs, change how they go on, or tell what went wrong in them.

People see tables and bars, programs a line for each thing.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dagcelery import client
from dagcelery.cli.running import STYLES, as_json, show_run, table, to_json
from dagcelery.cli.targets import plain, prepare_modules
from dagcelery.client.events import RunEvent
from dagcelery.client.status import RunState, RunStatus


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--reason", default="", metavar="TEXT", help="Why; it is shown to those who wait for the result.")
@click.option("--terminate", is_flag=True, help="End the processes that work on it, too.")
@as_json
def cancel(run_id: str, reason: str, terminate: bool, as_json: bool) -> None:
    """End RUN: what has not started never starts. Of a run that has ended otherwise the exit code is 1."""
    state = _run(run_id).cancel(reason, terminate=terminate)
    if state is not RunState.CANCELLED:
        raise click.ClickException(f"run {run_id} has ended before: it is {state}")
    _tell(run_id, state, as_json=as_json)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--deadline", type=float, metavar="SECONDS", help="End the run if it takes longer from now on.")
@click.option("--allow-code-change", is_flag=True, help="Go on although a function was changed since the run began.")
@click.option("--from", "node", metavar="NODE", help="Execute this node again, and all that depends on it.")
@click.option("--watch", is_flag=True, help="Stay until the run has ended.")
@as_json
def resume(
    run_id: str, deadline: float | None, allow_code_change: bool, node: str | None, watch: bool, as_json: bool
) -> None:
    """Let RUN go on, which failed, was cancelled or timed out: only what is missing is executed.

    With --from it may be done as well. With --watch the exit code says whether it was done in the end.
    """
    prepare_modules()  # where tasks have moved to, say
    run = _run(run_id)
    if node is None:
        run.resume(deadline=deadline, allow_code_change=allow_code_change)
    else:
        run.retry_from(node, deadline=deadline, allow_code_change=allow_code_change)
    if not watch:
        _tell(run_id, run.state, as_json=as_json)
        return
    last = show_run(run)
    _tell(run_id, last.state, as_json=as_json)
    succeed_if_done(last)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--traceback", "with_traceback", is_flag=True, help="Show where each one was raised.")
@as_json
def errors(run_id: str, with_traceback: bool, as_json: bool) -> None:
    """Print every attempt of RUN that failed, those that were repeated too: address, attempt, error."""
    found = _run(run_id).errors()
    if as_json:
        click.echo(to_json([asdict(failure) for failure in found]))
        return
    for failure in found:
        text = f"{failure.type_name}: {failure.message}" if failure.message else failure.type_name
        line = f"{failure.address} attempt {failure.attempt}{'' if failure.stands else ', repeated'}: {text}"
        click.echo(plain(line))
        if with_traceback and failure.traceback:
            click.echo(plain(failure.traceback.rstrip()))


@click.command()
@as_json
def sweep(as_json: bool) -> None:
    """Look once after runs that nobody has looked after: for cron, where no worker may be up for long.

    Gives work of lost workers back, sends lost messages again, ends what is past its deadline.
    """
    from dagcelery.worker.heartbeat import sweep_once  # late, since it imports Celery

    looked_at = sweep_once(client.default_client().app_context)
    if as_json:
        click.echo(to_json({"looked_at": looked_at}))
        return
    click.echo(f"{looked_at:,} run{'' if looked_at == 1 else 's'} looked at")


@click.group()
def cache() -> None:
    """Look after results of tasks that say cache=."""


@cache.command()
@click.argument("task", metavar="TASK")
def clear(task: str) -> None:
    """Drop all results that are kept of TASK, named as module:function."""
    dropped = client.forget(task)
    click.echo(f"{dropped:,} result{'' if dropped == 1 else 's'} dropped")


def succeed_if_done(last: RunStatus | None) -> None:
    """Exit with 1 where a run was watched to an end that is not "done"."""
    if last is not None and last.state is not RunState.DONE:
        raise click.exceptions.Exit(1)


def _tell(run_id: str, state: RunState, *, as_json: bool) -> None:
    click.echo(to_json({"id": run_id, "state": str(state)}) if as_json else state)


def _run(run_id: str) -> client.Run[Any]:
    return client.Run(run_id)


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
