"""What a run is, did and gave back, from the command line; and to delete runs: show, result, logs, trace, delete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import IO, Any

import click

from dagcelery import client
from dagcelery.cli.runs import as_json, moment, to_json
from dagcelery.cli.targets import plain
from dagcelery.cli.which_run import about_run, about_runs
from dagcelery.client.activity import RunningPiece
from dagcelery.errors import DagceleryError, InvalidLocation
from dagcelery.payload.lazy import LazyList


@click.command()
@about_run
@as_json
def show(run_id: str, as_json: bool) -> None:
    """Print what RUN is: its DAG, key, parameters, state, times, queues, and the workers that execute it now.

    Parameters are shortened; sensitive ones, and passwords in URLs, are not shown.
    """
    run = client.Run[Any](run_id)
    status = run.status()
    names = ("id", "name", "key", "created", "started", "ended", "seconds", "deadline", "epoch", "failed", "error")
    about: dict[str, Any] = {name: getattr(status, name) for name in (*names, "reason", "why", "news")}
    about |= {"state": str(status.state), "params": dict(status.params)}
    about["queues"] = sorted({node.queue for node in status.nodes})
    pieces = [piece for node in status.nodes for piece in node.pieces]
    about["workers"] = {worker: _at(pieces, worker) for worker in sorted({piece.worker for piece in pieces})}
    if as_json:
        click.echo(to_json(about))
        return
    for name, text in _lines(about):
        click.echo(plain(f"{name:<9}{text}"))


def _at(pieces: list[RunningPiece], worker: str) -> list[dict[str, Any]]:
    """Return what a process executes now."""
    return [
        {"address": piece.address, "started": piece.started, "attempt": piece.attempt}
        for piece in pieces
        if piece.worker == worker
    ]


def _lines(about: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is known of a run by name, as text of one line each."""
    yield "run", about["id"]
    yield "dag", about["name"]
    if about["key"] is not None:
        yield "key", about["key"]
    yield "state", f"{about['state']}: {about['news']}" if about["news"] else about["state"]
    for name in ("created", "started", "ended", "deadline"):
        if about[name]:
            yield name, moment(about[name])
    if about["epoch"] > 1:
        yield "epoch", str(about["epoch"])
    yield "queues", ", ".join(about["queues"])
    for name, text in about["params"].items():
        yield "param", f"{name}={text}"
    for worker, pieces in about["workers"].items():
        for piece in pieces:
            again = f", attempt {piece['attempt']}" if piece["attempt"] > 1 else ""
            yield "worker", f"{worker}: {piece['address']} since {moment(piece['started'])}{again}"


@click.command()
@about_run
@click.argument("node", metavar="[NODE]", required=False)
@as_json
def logs(run_id: str, node: str | None, as_json: bool) -> None:
    """Print the last lines that the pieces of RUN logged, or NODE of it: a node, an item, a node within."""
    run = client.Run[Any](run_id)
    kept = run.logs() if node is None else run.node(node).logs()
    if as_json:
        click.echo(to_json([asdict(each) for each in kept]))
        return
    for each in kept:
        click.echo(plain(f"{each.address} attempt {each.attempt}:"))
        for line in each.lines:
            click.echo(plain(f"  {line}"))


@click.command()
@about_run
@click.option("-o", "--output", "file", metavar="FILE", help="Write to a new file.")
def trace(run_id: str, file: str | None) -> None:
    """Print RUN as a trace, for ui.perfetto.dev and chrome://tracing: who executed what, when, and after what."""
    made = to_json(client.Run[Any](run_id).trace())
    if file is None:
        click.echo(made)
        return
    with _new(file) as output:
        output.write(f"{made}\n".encode())


@click.command()
@about_run
@click.argument("node", metavar="[NODE]", required=False)
@click.option("--timeout", type=float, default=0.0, metavar="SECONDS", help="Wait so long for the end of RUN.")
@click.option("--output", "file", metavar="FILE", help="Write to a new file: bytes as they are, anything else as JSON.")
def result(run_id: str, node: str | None, timeout: float, file: str | None) -> None:
    """Print what RUN gave back as JSON, or NODE of it: a node, an item, a node within.

    NODE is an address as status, watch and errors print it, such as read, 'read[3]' or 'one_file[117]/read'.
    """
    run = client.Run[Any](run_id)
    if node is not None and timeout:
        run.wait(timeout)
    value = run.result(timeout) if node is None else run.node(node).result()
    if isinstance(value, LazyList):
        value = list(value)
    if file is None:
        click.echo(to_json(value))
        return
    with _new(file) as output:
        output.write(bytes(value) if isinstance(value, bytes | bytearray) else f"{to_json(value)}\n".encode())


@contextmanager
def _new(file: str) -> Iterator[IO[bytes]]:
    """Open a file that does not exist yet."""
    try:
        with open(file, "xb") as opened:
            yield opened
    except OSError as error:
        problem = "exists" if isinstance(error, FileExistsError) else f"cannot be written: {error.strerror}"
        raise InvalidLocation(f"file '{file}'", problem, "name a new file") from error


@click.command()
@about_runs
@click.option("-f", "--force", is_flag=True, help="Delete runs that are not over, too.")
@as_json
def delete(run_ids: list[str], force: bool, as_json: bool) -> None:
    """Forget each RUN with all its results and files, and print its id.

    It cannot be undone, and nothing is asked. A run that is not over is refused, unless --force is given. The exit code
    is 1 if a run was not deleted; the others are.
    """
    deleted, refused = [], []
    for run_id in run_ids:
        run = client.Run[Any](run_id)
        try:
            if not (state := run.state).is_end and not force:
                refused.append(f"run {run_id} is {state}; cancel it first, or give --force")
                continue
            run.delete()
        except DagceleryError as error:
            refused.append(str(error))
            continue
        deleted.append(run_id)
        if not as_json:
            click.echo(run_id)
    if as_json:
        click.echo(to_json({"deleted": deleted, "refused": refused}))
    if refused:
        raise click.ClickException(plain("\n".join(refused)))
