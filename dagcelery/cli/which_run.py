"""Which run a command is about: RUN is an id or the beginning of one, and ``--last`` stands for the newest run."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from dagcelery import client
from dagcelery.cli.targets import plain

_MOST_NAMED: Final = 10

_ID: Final = re.compile(r"[0-9a-f]{32}")

_BEGINNING: Final = re.compile(r"[0-9a-f]{1,31}")


def about_run(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument RUN, and ``--last``, as the full id `run_id`."""

    @functools.wraps(command)
    def with_run(run_id: str | None, last: bool, dag_name: str | None, **options: Any) -> Any:
        if last and options.get("node", "") is None:  # `result --last NODE`
            options["node"], run_id = run_id, None
        return command(run_id=the_run([run_id] if run_id else [], last, dag_name)[0], **options)

    return chooses(with_run, click.argument("run_id", metavar="RUN", required=False))


def about_runs(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the arguments RUN..., and ``--last``, as the full ids `run_ids`."""

    @functools.wraps(command)
    def with_runs(run_ids: tuple[str, ...], last: bool, dag_name: str | None, **options: Any) -> Any:
        return command(run_ids=the_run(list(run_ids), last, dag_name), **options)

    return chooses(with_runs, click.argument("run_ids", metavar="RUN...", nargs=-1))


def chooses(command: Callable[..., Any], argument: Callable[[Any], Any]) -> Callable[..., Any]:
    """Give a command its argument for runs, and the options that may stand in its place."""
    options = [
        argument,
        click.option("--last", is_flag=True, help="Take the newest run in place of RUN."),
        click.option("--dag", "dag_name", metavar="NAME", help="With --last: the newest run of this DAG."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def the_run(texts: list[str], last: bool, dag_name: str | None) -> list[str]:
    """Return the full ids of the runs that a command line names."""
    if last:
        if texts:
            raise click.UsageError("RUN and --last name two runs; give one of them")
        newest = client.runs(dag_name, limit=1)
        if not newest:
            raise click.ClickException(f"the store has no run{f' of {plain(dag_name)}' if dag_name else ''}")
        return [newest[0].id]
    if dag_name is not None:
        raise click.UsageError("--dag chooses among the newest runs; give --last, too")
    if not texts:
        raise click.UsageError("Missing argument 'RUN'; give an id, the beginning of one, or --last")
    return list(map(full_id, texts))


def full_id(text: str) -> str:
    """Return the id of the only run that begins so; what begins none is returned as it is, and not found later."""
    if _ID.fullmatch(text) or not _BEGINNING.fullmatch(text):
        return text
    store = client.default_client().store
    alike = store.fleet.find(text, 10 * _MOST_NAMED)
    records = [record for record in map(store.reader.record, alike) if record is not None]
    if len(records) < 2:
        return records[0].id if records else text
    named = [f"{record.id} ({plain(record.name)}, {record.state})" for record in records[:_MOST_NAMED]]
    more = ["and more"] if len(records) > _MOST_NAMED else []
    several = "\n  ".join([f"'{text}' begins the ids of several runs; write more of one:", *named, *more])
    raise click.BadParameter(several, param_hint="RUN")


_AGO: Final = re.compile(r"(\d+(?:\.\d+)?) ?([smhdw])")

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Since(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A moment: ``90s``, ``30m``, ``2h``, ``7d`` or ``1w`` ago, or an ISO date and time, UTC where it names no zone."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime | timedelta:
        """Read it."""
        if isinstance(value, datetime | timedelta):
            return value
        if ago := _AGO.fullmatch(value.strip()):
            return timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"'{plain(value)}' is not a time; write 2h, 30m or 7d, or 2030-01-31T12:00", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
