"""The command ``export``: a DAG as a file for another system. Nothing is written where anything is wrong."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO, get_args

import click

from dagcelery.cli.targets import Target, given, parameters
from dagcelery.errors import InvalidLocation, InvalidParameters
from dagcelery.export.argo import Kind, Storage, manifests


@click.group()
def export() -> None:
    """Write a DAG down for another system."""


@export.command()
@given
@click.option("--image", required=True, metavar="IMAGE", help="The image of all containers; TARGET is to be in it.")
@click.option("--kind", type=click.Choice(get_args(Kind)), default="Workflow", show_default=True)
@click.option("--name", default="", metavar="NAME", help="By default the DAG's, and for a Workflow a suffix.")
@click.option("--namespace", default="", metavar="NAMESPACE")
@click.option("--schedule", metavar="CRON", help="Of a CronWorkflow, by default the DAG's.")
@click.option("--timezone", metavar="NAME", help="The timezone whose clock the schedule means.")
@click.option(
    "--storage",
    type=click.Choice(get_args(Storage)),
    default="s3",
    show_default=True,
    help="The kind of the artifact repository.",
)
@click.option("--command", default="dagcelery invoke", metavar="WORDS", help="What containers run, with TARGET.")
@click.option("--spec", type=click.File("r"), help="A JSON file with more keys for the workflow's spec.")
@click.option("--without-hooks", is_flag=True, help="Leave out what the DAG calls when it has ended.")
@click.option("-f", "--format", "language", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write to this file.")
def argo(
    target: Target,
    pairs: tuple[str, ...],
    file: TextIO | None,
    spec: TextIO | None,
    command: str,
    without_hooks: bool,
    language: str,
    output: str | None,
    **options: Any,
) -> None:
    """Print the manifest of TARGET for Argo Workflows, for kubectl apply or create.

    Each container runs `dagcelery invoke TARGET --node-name NODE`.
    """
    more = _object_in(spec) if spec is not None else {}
    params = parameters(target, pairs, file)
    words = _words(command)
    documents = manifests(
        target.found, target=target.name, params=params, command=words, spec=more, hooks=not without_hooks, **options
    )
    text = _yaml(documents) if language == "yaml" else "".join(json.dumps(each, indent=2) + "\n" for each in documents)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        Path(output).write_text(text)
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise InvalidLocation(output, problem, "name another file") from error


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise click.BadParameter(
            f"{command!r} ends within quotation marks; close them", param_hint="--command"
        ) from error


def _object_in(file: TextIO) -> dict[str, Any]:
    try:
        found = json.load(file)
    except ValueError as error:
        raise click.BadParameter(f"{file.name} is not JSON: {error}", param_hint="--spec") from error
    if not isinstance(found, dict):
        raise click.BadParameter(f'{file.name} is not an object; write {{"key": value}}', param_hint="--spec")
    return found


def _yaml(documents: Sequence[dict[str, Any]]) -> str:
    try:
        import yaml
    except ImportError as error:
        remedy = "pip install 'dagcelery[yaml]', or write JSON, which kubectl reads too: --format json"
        raise InvalidParameters("--format yaml", "needs PyYAML", remedy) from error

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    return yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000)
