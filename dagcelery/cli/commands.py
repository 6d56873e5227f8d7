"""The commands for one DAG, run, invoke, submit, plan and draw, and the group that has all commands.

Results go to standard output, everything else to standard error. The exit code is 0 for success, 2 for a command line
that cannot be understood, and 1 for any other error, which is one sentence.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

import click

from dagcelery import client, draw
from dagcelery.cli import watching, workers
from dagcelery.cli.config import config, schedules
from dagcelery.cli.running import as_json, canvas_lines, run_to_its_end, running, to_json
from dagcelery.cli.targets import (
    Target,
    add_option,
    chosen_name,
    load,
    parameters,
    plain,
    plan_of,
    some_app,
    take_celerys,
)
from dagcelery.errors import DagceleryError
from dagcelery.planner.encoding import encode_plan
from dagcelery.worker.app import search_here

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
    from dagcelery.worker.app_context import app_context_of

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


def given(command: C) -> C:
    """Give a command a target and its parameters: the arguments `target` and `params`."""
    options = [
        click.argument("target", callback=load),
        click.option(
            "-p",
            "pairs",
            multiple=True,
            metavar="NAME=VALUE",
            help="A parameter, as JSON, or as plain text if the parameter is annotated as str.",
        ),
        click.option(
            "--params", "file", type=click.File("r"), help="A JSON file with all parameters; - is standard input."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@dag.command()
@given
@running
def run(
    target: Target,
    pairs: tuple[str, ...],
    file: TextIO | None,
    local: int | None,
    watch: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Submit TARGET, wait for its result, and print it as JSON."""
    run_to_its_end(target, parameters(target, pairs, file), local, watch=watch, timeout=timeout, as_json=as_json)


@dag.command()
@given
@located
def invoke(
    target: Target,
    pairs: tuple[str, ...],
    file: TextIO | None,
    node_name: str,
    inputs: dict[str, str],
    outputs: dict[str, str],
) -> None:
    """Run TARGET, or one node of it, in this process, without Celery and Redis, and print its result as JSON.

    With --output, nothing is printed, and each output is written to a file, serialized. An output that is made element
    by element becomes a folder with one file per element, and partitions.json.
    """
    if not (node_name or inputs or outputs):
        click.echo(to_json(target.invoke(parameters(target, pairs, file))))
        return
    params = parameters(target.node(node_name), pairs, file)
    result = client.invoke_with_locations(
        target.found, params, node_name=node_name, inputs=inputs, outputs=outputs or None
    )
    if not outputs:
        click.echo(to_json(result))


@dag.command()
@given
@click.option("--key", metavar="TEXT", help="Submit only once: if this key was used before, print the id of its run.")
@click.option("--deadline", type=float, metavar="SECONDS", help="End the run if it takes longer than this.")
@as_json
def submit(
    target: Target, pairs: tuple[str, ...], file: TextIO | None, key: str | None, deadline: float | None, as_json: bool
) -> None:
    """Submit TARGET and print the id of its run at once."""
    submitted = target.submit(parameters(target, pairs, file), key=key, deadline=deadline)
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
        click.echo(encode_plan(plan_of(node)))
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
    nodes = client.Run[Any](run_id).status().nodes if run_id else ()
    states = {node.name.replace("[*]", ""): node.state for node in nodes}
    click.echo(languages[language](target.dag(parameters(target, pairs, file)), states=states), nl=False)


for verb in (
    watching.list_runs,
    watching.status,
    watching.watch,
    watching.cancel,
    watching.resume,
    watching.errors,
    watching.sweep,
    watching.cache,
):
    dag.add_command(verb)

dag.add_command(workers.worker)

dag.add_command(workers.dev)

dag.add_command(config)

dag.add_command(schedules)

dag.add_command(doctor)

add_option(dag)
