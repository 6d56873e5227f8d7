"""The commands that start processes here: worker, which can reload changed code, and dev, a whole installation."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import click

from dagcelery.cli.targets import chosen_name, default_queue
from dagcelery.client import default_client
from dagcelery.errors import NotConfigured
from dagcelery.local import Cluster, cluster
from dagcelery.local.cluster import tolerated_queues
from dagcelery.settings import Settings

WARM_SECONDS: Final = 60
"""How long running pieces may continue after a change; then they are killed, and the new worker repeats them."""

DEBOUNCE_MS: Final = 300

EXTENSIONS: Final = (".yml", ".yaml")


def run_again(command: Sequence[str], folders: Sequence[str]) -> None:
    """Run a command, and run it again whenever Python or YAML changes in one of the folders, until Ctrl-C or SIGTERM.

    It gets SIGINT first, at which a Celery worker finishes its pieces. A worker that cannot start, since a file is
    half-written, is started again with the next change.

    Raises NotConfigured.
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
    click.echo(f"{first}{f' and {len(others)} more' if others else ''} changed; restarting the worker", err=True)


FOLDER = Path(".dagcelery")

POLL_SECONDS = 0.5

tolerations = click.option(
    "--toleration", "tolerations", multiple=True, metavar="TAINT", help="Run tasks with this taint, too."
)


@click.command(context_settings={"ignore_unknown_options": True})
@tolerations
@click.option(
    "--include-queue", "included", multiple=True, metavar="QUEUE", help="Consume this queue instead of the default one."
)
@click.option("--exclude-queue", "excluded", multiple=True, metavar="QUEUE", help="Do not consume this queue.")
@click.option("--reload", is_flag=True, help="Restart when a Python or YAML file changes; for development.")
@click.option(
    "--watch-dir",
    "watched",
    multiple=True,
    metavar="FOLDER",
    help="The folder to watch; default: the working directory.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def worker(
    tolerations: tuple[str, ...],
    included: tuple[str, ...],
    excluded: tuple[str, ...],
    reload: bool,
    watched: tuple[str, ...],
    arguments: tuple[str, ...],
) -> None:
    """Run a Celery worker for tasks without taints, and for those whose taints it tolerates.

    ARGUMENTS are passed to `celery worker`, such as -c 4 -l INFO. Without -l, DAGCELERY_LOG_LEVEL is the level of the
    worker's log, by default INFO.
    """
    queues = consumed(tolerations, included, excluded)
    if not queues:
        raise click.UsageError("--exclude-queue leaves no queue to consume; exclude fewer")
    command = [sys.executable, "-m", "celery", "-A", chosen_name(), "worker", "-Q", ",".join(queues)]
    command += [*log_level(arguments), *arguments]
    if not (reload or watched):
        if "--help" not in arguments:
            default_client()  # for a missing broker or store, Celery would show a traceback of its own start
        os.execv(sys.executable, command)
    for folder in watched:
        if not os.path.exists(folder):
            raise click.BadParameter(f"'{folder}' is not a folder", param_hint="--watch-dir")
    run_again(command, watched or (os.getcwd(),))


def log_level(arguments: Sequence[str]) -> list[str]:
    """Return the option for the level of a worker's log, where the arguments do not say one."""
    is_given = any(each.startswith(("-l", "--loglevel", "--log-level")) for each in arguments)
    return [] if is_given else ["-l", Settings.from_environment().log_level]


def consumed(tolerations: Sequence[str], included: Sequence[str], excluded: Sequence[str]) -> list[str]:
    """Return the queues of a worker: the included ones, else the default one, and those of tolerated taints."""
    default, *tolerated = tolerated_queues(tolerations, default_queue())
    wanted = [*(included or [default]), *tolerated]
    return [queue for queue in dict.fromkeys(wanted) if queue not in excluded]


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="How many worker processes.")
@tolerations
@click.option("--queue", "queues", multiple=True, metavar="QUEUE", help="Consume this queue, too.")
@click.option("--keep", is_flag=True, help=f"Keep runs in {FOLDER}/data for the next time.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def dev(
    workers: int, tolerations: tuple[str, ...], queues: tuple[str, ...], keep: bool, command: tuple[str, ...]
) -> None:
    """Run a server and workers on this machine until Ctrl-C, or until COMMAND ends.

    Other processes use them after `source .dagcelery/dev.env`; `dagcelery dev -- python pipeline.py` runs a command
    that uses them, and exits with its code.
    """
    with (
        ended_by_signals(),
        private_folder() as folder,
        cluster(
            workers,
            tolerations,
            queues=queues,
            directory=folder / "data" if keep else None,
            log=sys.stderr.fileno(),
            log_level="WARNING" if command else "INFO",
            events=True,
        ) as local,
        written(folder / "dev.env", local.environment) as file,
    ):
        if command:
            sys.exit(exit_code(command, {**os.environ, **local.environment}))
        click.echo(f"{workers} processes run tasks from {', '.join(local.queues)}. In another terminal:")
        click.echo(f"source {shlex.quote(str(file))}")
        click.echo("Ctrl-C ends them.", err=True)
        stay(local)


def stay(local: Cluster) -> None:
    """Wait for Ctrl-C."""
    try:
        while local.server.is_up and local.workers:
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return
    raise click.ClickException("the worker ended" if local.server.is_up else "the server ended")


def exit_code(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end and return its exit code, as a shell counts those of signals."""
    try:
        child = subprocess.Popen(command, env=environment)
    except OSError as error:
        raise click.ClickException(f"'{command[0]}' cannot be run: {error.strerror}") from error
    with child:
        while child.returncode is None:
            try:
                child.wait()
            except KeyboardInterrupt:
                continue  # The terminal sent it to the command as well, which decides what to do.
            except BaseException:
                child.terminate()
                raise
    return 128 - child.returncode if child.returncode < 0 else child.returncode


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make the folder for secrets and data, which git is to ignore."""
    folder = FOLDER.absolute()
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    yield folder


@contextmanager
def written(path: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Hold variables in a file that only this user can read and a shell can source."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a block in order."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    handled = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, end) for number in handled]
    try:
        yield
    finally:
        for number, handler in zip(handled, before, strict=True):
            signal.signal(number, handler)
