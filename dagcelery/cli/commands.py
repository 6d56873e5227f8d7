"""The commands for one DAG, for YAML files and for schedules, and the group that has all commands.

Results go to standard output, everything else to standard error. The exit code is 0 for success, 2 for a command line
that cannot be understood, and 1 for any other error, which is one sentence.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, get_args

import click

import dagcelery
from dagcelery import client, draw
from dagcelery.cli import export, page, runs, scraping, show, workers
from dagcelery.cli.runs import as_json, canvas_lines, run_to_its_end, running, to_json
from dagcelery.cli.targets import (
    Target,
    add_option,
    chosen_name,
    given,
    parameters,
    plain,
    plan_of,
    some_app,
    take_celerys,
)
from dagcelery.cli.which_run import full_id
from dagcelery.client.located import TO_BE_RETRIED, Make, ToBeRetried
from dagcelery.errors import DagceleryError
from dagcelery.frontends import yaml
from dagcelery.frontends.yaml import ConfiguredWorkflow
from dagcelery.model.options import IfFailed
from dagcelery.planner.encoding import encode_plan
from dagcelery.text import choices
from dagcelery.worker.app import search_here

if TYPE_CHECKING:
    from celery import Celery

    from dagcelery.worker.beat import Scheduled


# -- files and schedules --------------------------------------------------------------------------
@click.group(name="schedule")
def schedules() -> None:
    """See which DAGs `celery -A dagcelery beat` submits, and when."""


@schedules.command(name="list")
@as_json
def list_schedules(as_json: bool) -> None:
    """Print the scheduled DAGs in the app's modules, DAGCELERY_IMPORTS and DAGCELERY_WORKFLOWS."""
    from dagcelery.worker.app import app_context_of
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
@click.argument("directory")
def init(directory: str) -> None:
    """Copy what is needed to run workers into DIRECTORY: settings of Celery, Redis and Flower, units, queues.

    It must not be there yet, and each file says what it is for.
    """
    package = Path(dagcelery.__file__).parent
    # A checkout that is installed to be edited has them beside the package.
    source = next(each for each in (package / "worker_config", package.parent / "worker_config") if each.is_dir())
    try:
        shutil.copytree(source, directory, ignore=shutil.ignore_patterns("__pycache__"))
    except OSError as error:
        raise click.ClickException(f"{directory} cannot be written: {error.strerror}; name a new folder") from error
    for path in sorted(each for each in Path(directory).rglob("*") if each.is_file()):
        click.echo(plain(str(path)))


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
def run_workflow(
    file: str, workflow: str | None, local: int | None, watch: bool, timeout: float | None, as_json: bool
) -> None:
    """Submit WORKFLOW of FILE, wait for its result, and print it as JSON.

    WORKFLOW may be left out if FILE has only one. The result has the outputs that no step takes, by step and name.
    """
    target = Target(chosen_workflow(yaml.load(file), workflow))
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


def chosen_workflow(workflows: tuple[ConfiguredWorkflow, ...], name: str | None) -> ConfiguredWorkflow:
    """Return the workflow of that name, or the only one."""
    named = {workflow.name: workflow for workflow in workflows}
    if name is None and len(workflows) > 1:
        raise click.BadParameter(f"the file has several; name one of {', '.join(named)}", param_hint="WORKFLOW")
    workflow = workflows[0] if name is None else named.get(name)
    if workflow is None:
        raise click.BadParameter(f"the file has no workflow {name!r}; {choices(name, named)}", param_hint="WORKFLOW")
    return workflow


# -- one DAG --------------------------------------------------------------------------------------
C = TypeVar("C", bound=Callable[..., Any])


def located(command: C) -> C:
    """Give a command the options `node_name`, and as dicts by name `inputs` and `outputs`."""
    options = [
        click.option("--node-name", default="", metavar="A.B", help="Run this node, which may be in a nested DAG."),
        click.option(
            "--input",
            "inputs",
            multiple=True,
            callback=by_name,
            metavar="NAME=FILE",
            help="Read an input from a serialized file; a list may be a folder with one file per element.",
        ),
        click.option(
            "--output",
            "outputs",
            multiple=True,
            callback=by_name,
            metavar="NAME=FILE",
            help="Write an output to a new file; name all outputs or none.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def conducted(command: C) -> C:
    """Give a command the options by which an orchestrator has it do a part of a run that it conducts."""
    options = [
        click.option(
            "--from",
            "values",
            multiple=True,
            callback=by_name,
            metavar="NAME=FILE",
            help="Read a value that inputs of the node are made of: NODE.OUTPUT, or a parameter of the DAG around it.",
        ),
        click.option(
            "--item",
            "items",
            multiple=True,
            callback=by_name,
            metavar="NAME=FILE",
            help="Read the element of such a list that belongs to the item that the node is run for.",
        ),
        click.option(
            "--make",
            type=click.Choice(get_args(Make)),
            help="Do not run the node: write the values of its inputs or outputs, decide its condition, take the list "
            "apart that it goes through, or write parameters of the whole DAG, which come as JSON.",
        ),
        click.option(
            "--retries",
            type=click.IntRange(0),
            metavar="N",
            help="Call the task once; N calls have failed before. Who calls it is to call it again.",
        ),
        click.option("--run", "run_id", default="", metavar="RUN", help="What current() tells as the run."),
        click.option("--address", default="", metavar="ADDRESS", help="What current() tells as the address."),
        click.option("--skip", is_flag=True, help="Write a failure that stands as an item that was left out."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def by_name(ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """Read ``name=file`` pairs."""
    files: dict[str, str] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not equals or not name or not file:
            raise click.BadParameter(f"'{pair}' has no name or no file; write NAME=FILE", ctx, param)
        if name in files:
            raise click.BadParameter(f"'{name}' is given twice; give it once", ctx, param)
        files[name] = file
    return files


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Check servers, settings and workers, and print each problem with its remedy.

    The exit code is 1 if a problem is serious, as health probes expect, else 0.
    """
    from dagcelery.doctor import CHECKS, CheckContext, Severity, run_checks  # late, since it imports Celery
    from dagcelery.worker.app import app_context_of

    context = CheckContext(app_context_of(some_app()), name=chosen_name())
    findings = run_checks(context)
    context.close()
    serious = sum(finding.severity is Severity.SERIOUS for finding in findings)
    if as_json:
        click.echo(to_json({"serious": serious, "findings": [finding.to_dict() for finding in findings]}))
    else:
        for finding in findings:
            click.echo(plain(f"{finding.severity}: {finding.check}: {finding.what}\n    {finding.remedy}"))
        click.echo(f"{len(CHECKS)} checks, {len(findings)} findings, {serious} of them serious", err=True)
    if serious:
        raise click.exceptions.Exit(1)


class Verbs(click.Group):
    """The group of all commands, which prints dagcelery's errors as one sentence."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options; apps and DAGs are looked for in the working directory, too."""
        search_here()
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except DagceleryError as error:
            if ctx.params["show_traceback"]:
                click.echo(plain("".join(traceback.format_exception(error))), err=True)
            raise click.ClickException(plain(str(error))) from error
        except click.UsageError as error:
            message = error.format_message()
            if plain(message) == message:
                raise
            raise click.UsageError(plain(message), error.ctx) from error


@click.group(cls=Verbs)
@click.option("--traceback", "show_traceback", is_flag=True, help="Show the traceback of an error, too.")
@click.version_option(package_name="dagcelery")
@click.pass_context
def dag(ctx: click.Context, show_traceback: bool) -> None:
    """Run DAGs on Celery workers, and watch them.

    TARGET is a DAG or a task in a module that can be imported from here: pkg.mod:name.
    """
    take_celerys(ctx)


def main() -> None:
    """Be the program ``dagcelery``."""
    dag(prog_name="dagcelery")


def submitting(command: C) -> C:
    """Add the options of a submission."""
    options = [
        click.option(
            "--key", metavar="TEXT", help="Submit only once: if this key was used before, it stands for its run."
        ),
        click.option(
            "--if-failed",
            type=click.Choice(get_args(IfFailed)),
            default="return",
            help="What the key gives where its run failed, was cancelled or timed out: that run, that run resumed, or "
            "a new one.",
        ),
        click.option("--deadline", type=float, metavar="SECONDS", help="End the run if it takes longer than this."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@dag.command()
@given
@submitting
@running
def run(
    target: Target,
    pairs: tuple[str, ...],
    file: TextIO | None,
    local: int | None,
    watch: bool,
    timeout: float | None,
    as_json: bool,
    **submission: Any,
) -> None:
    """Submit TARGET, wait for its result, and print it as JSON."""
    params = parameters(target, pairs, file)
    run_to_its_end(target, params, local, watch=watch, timeout=timeout, as_json=as_json, **submission)


@dag.command()
@given
@located
@conducted
def invoke(
    target: Target,
    pairs: tuple[str, ...],
    file: TextIO | None,
    node_name: str,
    inputs: dict[str, str],
    outputs: dict[str, str],
    **options: Any,
) -> None:
    """Run TARGET, or one node of it, in this process, without Celery and Redis, and print its result as JSON.

    With --output, nothing is printed, and each output is written to a file, serialized. An output that is made element
    by element becomes a folder with one file per element, and partitions.json. With --retries, the exit code is 75 if
    the task's policy has it called again.
    """
    if not (node_name or inputs or outputs or options["make"]):
        click.echo(to_json(target.invoke(parameters(target, pairs, file))))
        return
    params = parameters(target.node(node_name), pairs, file)
    try:
        result = client.invoke_with_locations(
            target.found, params, node_name=node_name, inputs=inputs, outputs=outputs or None, **options
        )
    except ToBeRetried as error:
        click.echo(plain(f"{error}"), err=True)
        raise click.exceptions.Exit(TO_BE_RETRIED) from error
    if not outputs:
        click.echo(to_json(result))


@dag.command()
@given
@submitting
@as_json
def submit(
    target: Target,
    pairs: tuple[str, ...],
    file: TextIO | None,
    as_json: bool,
    **submission: Any,
) -> None:
    """Submit TARGET and print the id of its run at once."""
    submitted = target.submit(parameters(target, pairs, file), **submission)
    click.echo(to_json({"id": submitted.id}) if as_json else submitted.id)


@dag.command()
@given
@as_json
def plan(target: Target, pairs: tuple[str, ...], file: TextIO | None, as_json: bool) -> None:
    """Print the Celery canvas of TARGET, and the queues that need workers.

    Only static parameters of TARGET matter here.
    """
    node = target.dag(parameters(target, pairs, file))
    if as_json:
        lines = encode_plan(plan_of(node)).decode().split("\n")
        click.echo("[" + ",\n".join(lines) + "]")
    else:
        click.echo(plain("\n".join(canvas_lines(node))))


@dag.command(name="draw")
@given
@click.option(
    "-f", "--format", "language", type=click.Choice(["text", "mermaid", "dot"]), default="text", show_default=True
)
@click.option("--run", "run_id", metavar="RUN", help="Show the states of this run's nodes.")
def draw_target(target: Target, pairs: tuple[str, ...], file: TextIO | None, language: str, run_id: str | None) -> None:
    """Draw TARGET as text, Mermaid, or DOT for Graphviz."""
    languages = {"text": draw.text, "mermaid": draw.mermaid, "dot": draw.dot}
    nodes = client.Run[Any](full_id(run_id)).status().nodes if run_id else ()
    states = {node.name.replace("[*]", ""): node.state for node in nodes}
    click.echo(languages[language](target.dag(parameters(target, pairs, file)), states=states), nl=False)


for verb in (
    runs.list_runs,
    show.show,
    runs.status,
    runs.watch,
    show.result,
    show.logs,
    show.trace,
    runs.cancel,
    runs.resume,
    show.delete,
    runs.errors,
    runs.sweep,
    runs.cache,
):
    dag.add_command(verb)

dag.add_command(workers.worker)

dag.add_command(workers.dev)

dag.add_command(page.ui)

dag.add_command(scraping.metrics)

dag.add_command(config)

dag.add_command(schedules)

dag.add_command(export.export)

dag.add_command(doctor)

add_option(dag)
