"""A worker that is started again when code changes: for development."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Final

import click

from dagcelery.errors import NotConfigured

WARM_SECONDS: Final = 60
"""How long what runs may go on after a change, until it is killed and given to the new worker."""
DEBOUNCE_MS: Final = 300
EXTENSIONS: Final = (".yml", ".yaml")


def run_again(command: Sequence[str], folders: Sequence[str]) -> None:
    """Run a command, and run it again whenever Python or YAML changes in one of the folders, until Ctrl-C or SIGTERM.

    Before that it is asked to end with SIGINT, at which a Celery worker finishes what it is at. A worker that cannot
    start, since a file is half-written, is started again with the next change. Raises NotConfigured.
    """
    try:
        from watchfiles import PythonFilter, run_process
    except ModuleNotFoundError as error:
        remedy = "pip install 'dagcelery[reload]'"
        raise NotConfigured("--reload needs watchfiles, which is not installed", remedy) from error

    click.echo(f"watching {', '.join(folders)}", err=True)
    run_process(
        *folders,
        target=shlex.join(command),
        target_type="command",
        callback=_tell,
        watch_filter=PythonFilter(extra_extensions=EXTENSIONS),
        debounce=DEBOUNCE_MS,
        sigint_timeout=WARM_SECONDS,
    )


def _tell(changes: set[tuple[Any, str]]) -> None:
    first, *others = sorted(path for _, path in changes)
    click.echo(f"{first}{f' and {len(others)} more' if others else ''} changed: the worker starts again", err=True)
