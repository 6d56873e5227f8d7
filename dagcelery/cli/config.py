"""The commands for YAML files and schedules: check a file, run its workflows, list what is due."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from dagcelery import draw
from dagcelery.cli.running import as_json, run_to_its_end, running, to_json
from dagcelery.cli.targets import Target, chosen_name, plain, some_app
from dagcelery.frontends import yaml
from dagcelery.frontends.yaml import ConfiguredWorkflow
from dagcelery.text import choices

if TYPE_CHECKING:
    from celery import Celery

    from dagcelery.worker.beat import Scheduled


@click.group(name="schedule")
def schedules() -> None:
    """See which DAGs `celery -A dagcelery beat` submits, and when."""


@schedules.command(name="list")
@as_json
def list_schedules(as_json: bool) -> None:
    """Print the scheduled DAGs in the app's modules, DAGCELERY_IMPORTS and DAGCELERY_WORKFLOWS."""
    from dagcelery.worker.app_context import app_context_of
    from dagcelery.worker.beat import of_app

    app = some_app()
    show_schedules(of_app(app, app_context_of(app).settings), app, as_json=as_json)


def show_schedules(found: Iterable[Scheduled], app: Celery, *, as_json: bool = False) -> None:
    """Print a line for each DAG: when it is due next, its schedule, its name."""
    from dagcelery.worker.beat import Clock

    told: list[dict[str, Any]] = [
        {
            "dag": each.name,
            "schedule": each.schedule.cron,
            "timezone": each.schedule.timezone or str(app.timezone),
            "next": Clock(each.schedule, app=app).next_tick().isoformat(),
        }
        for each in found
    ]
    if as_json:
        click.echo(to_json(told))
        return
    if not told:
        click.echo("no DAG has a schedule", err=True)
    for line in told:
        click.echo(plain("{next}  {schedule} {timezone}  {dag}".format(**line)))


@click.group()
def config() -> None:
    """Check and run the workflows in a YAML file.

    Modules are looked for in the working directory, then in the file's own folder and in the one above it.
    """


@config.command()
@click.argument("file")
def check(file: str) -> None:
    """Print the workflows in FILE, or an error with file, line and key."""
    for workflow in yaml.load(file):
        due = f"due at {workflow.schedule}" if workflow.schedule else "without a schedule"
        click.echo(plain(f"{workflow.name}, {due}"))
        click.echo(draw.text(workflow.dag), nl=False)


@config.command(name="run")
@click.argument("file")
@click.argument("workflow", required=False)
@running
def run(file: str, workflow: str | None, local: int | None, watch: bool, timeout: float | None, as_json: bool) -> None:
    """Submit WORKFLOW of FILE, wait for its result, and print it as JSON.

    WORKFLOW may be left out if FILE has only one. The result has the outputs that no step takes, by step and name.
    """
    target = Target(chosen(yaml.load(file), workflow))
    run_to_its_end(target, {}, local, watch=watch, timeout=timeout, as_json=as_json)


@config.command()
@click.argument("file")
@click.option("--beat", is_flag=True, help="Submit them when they are due, until Ctrl-C; workers run elsewhere.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def schedule(file: str, beat: bool, arguments: tuple[str, ...]) -> None:
    """Print when the workflows in FILE are due next; with --beat, run a Celery beat that submits them.

    ARGUMENTS are passed to `celery beat`, such as -s FILE for its state; write -- before them.
    """
    from dagcelery.worker.beat import of_files  # late, since it imports Celery

    show_schedules(of_files([glob.escape(file)]), some_app())
    if beat:
        path = os.path.abspath(file)
        if re.search(r"[\s,]", path):
            message = f"'{path}' has a blank or a comma in its path, which DAGCELERY_WORKFLOWS cannot have; rename it"
            raise click.BadParameter(message, param_hint="FILE")
        os.environ["DAGCELERY_WORKFLOWS"] = glob.escape(path)
        os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", chosen_name(), "beat", *arguments])


def chosen(workflows: tuple[ConfiguredWorkflow, ...], name: str | None) -> ConfiguredWorkflow:
    """Return the workflow of that name, or the only one."""
    named = {workflow.name: workflow for workflow in workflows}
    if name is None and len(workflows) > 1:
        raise click.BadParameter(f"the file has several; name one of {', '.join(named)}", param_hint="WORKFLOW")
    workflow = workflows[0] if name is None else named.get(name)
    if workflow is None:
        raise click.BadParameter(f"the file has no workflow {name!r}; {choices(name, named)}", param_hint="WORKFLOW")
    return workflow
