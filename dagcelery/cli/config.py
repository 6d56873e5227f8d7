"""The verbs that are about a configuration file: check it, and run one of its workflows."""

from __future__ import annotations

import glob
import os
import re
import sys

import click

from dagcelery import draw
from dagcelery.cli.apps import chosen_name, some_app
from dagcelery.cli.clock import show_schedules
from dagcelery.cli.plain import plain
from dagcelery.cli.running import run_to_its_end, running
from dagcelery.cli.targets import Target
from dagcelery.frontends.yaml import Workflow, load
from dagcelery.text import choices


@click.group()
def config() -> None:
    """Look at workflows in a YAML file, and run them.

    Modules are looked for in the working directory, then in the file's own folder and in the one above it.
    """


@config.command()
@click.argument("file")
def check(file: str) -> None:
    """Print the workflows of FILE, or what is wrong with it: file, line, key."""
    for workflow in load(file):
        due = f"due at {workflow.schedule}" if workflow.schedule else "without a schedule"
        click.echo(plain(f"{workflow.name}, {due}"))
        click.echo(draw.text(workflow.dag), nl=False)


@config.command()
@click.argument("file")
@click.argument("workflow", required=False)
@running
def run(file: str, workflow: str | None, local: int | None, watch: bool, timeout: float | None, as_json: bool) -> None:
    """Submit WORKFLOW of FILE, wait for its result, and print it as JSON.

    Where FILE has only one workflow, it need not be named. The result is what no other step takes, by step and output.
    """
    found = chosen(load(file), workflow)
    run_to_its_end(Target(found), {}, local, watch=watch, timeout=timeout, as_json=as_json)


@config.command()
@click.argument("file")
@click.option("--beat", is_flag=True, help="Submit them when they are due, until Ctrl-C; workers run elsewhere.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def schedule(file: str, beat: bool, arguments: tuple[str, ...]) -> None:
    """Print when the workflows of FILE are due next; with --beat become a Celery beat that submits them.

    ARGUMENTS are those of `celery beat`, such as -s FILE for what it remembers; write -- before them.
    """
    from dagcelery.schedule import of_files  # late, since it imports Celery

    show_schedules(of_files([glob.escape(file)]), some_app())
    if beat:
        path = os.path.abspath(file)
        if re.search(r"[\s,]", path):
            wrong = f"'{path}' has a blank or a comma in its path, which DAGCELERY_WORKFLOWS cannot have; rename it"
            raise click.BadParameter(wrong, param_hint="FILE")
        os.environ["DAGCELERY_WORKFLOWS"] = glob.escape(path)
        os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", chosen_name(), "beat", *arguments])


def chosen(workflows: tuple[Workflow, ...], name: str | None) -> Workflow:
    """Return the workflow of that name, or the only one."""
    named = {workflow.name: workflow for workflow in workflows}
    if name is None and len(workflows) > 1:
        raise click.BadParameter(f"the file has several; name one of {', '.join(named)}", param_hint="WORKFLOW")
    found = workflows[0] if name is None else named.get(name)
    if found is None:
        raise click.BadParameter(f"there is no {name!r}; {choices(name, named)}", param_hint="WORKFLOW")
    return found
