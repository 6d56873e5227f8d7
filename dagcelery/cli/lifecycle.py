"""The verbs that change how a run goes on, or tell what went wrong in it; and sweep, and cache."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from dagcelery import client
from dagcelery.cli.apps import prepare_modules
from dagcelery.cli.plain import plain
from dagcelery.cli.progress import show_run
from dagcelery.cli.running import as_json, to_json
from dagcelery.runtime.results import RunState, RunStatus


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
    from dagcelery.runtime.sweeping import sweep_once  # late, since it imports Celery

    looked_at = sweep_once(client.default_client().binding)
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
