"""The options by which a command reads inputs from files and writes outputs to files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

C = TypeVar("C", bound=Callable[..., Any])


def located(command: C) -> C:
    """Give a command the options `node_name`, and as dicts by name `inputs` and `outputs`."""
    options = [
        click.option("--node-name", default="", metavar="A.B", help="Run this node of TARGET, or of a DAG within it."),
        click.option(
            "--input",
            "inputs",
            multiple=True,
            callback=by_name,
            metavar="NAME=FILE",
            help="Read an input from a serialized file; a list may be a folder with a file for each element.",
        ),
        click.option(
            "--output",
            "outputs",
            multiple=True,
            callback=by_name,
            metavar="NAME=FILE",
            help="Write an output to a file that is not there yet; if one is named, all must be.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def by_name(ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """Read ``name=file`` pairs."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not equals or not name or not file:
            raise click.BadParameter(f"'{pair}' does not name a file; write NAME=FILE", ctx, param)
        if name in found:
            raise click.BadParameter(f"'{name}' is given twice; give it once", ctx, param)
        found[name] = file
    return found
