"""The verbs that are about the clock: which DAGs beat submits, and when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from dagcelery.cli.apps import some_app
from dagcelery.cli.plain import plain
from dagcelery.cli.running import as_json, to_json

if TYPE_CHECKING:
    from celery import Celery

    from dagcelery.schedule import Scheduled


@click.group(name="schedule")
def schedule() -> None:
    """See which DAGs Celery's beat submits, and when; `celery -A dagcelery beat` does it."""


@schedule.command(name="list")
@as_json
def list_schedules(as_json: bool) -> None:
    """Print the DAGs with a schedule that beat would find: in the app's modules, DAGCELERY_IMPORTS and
    DAGCELERY_WORKFLOWS.
    """
    from dagcelery.runtime.binding import binding_of
    from dagcelery.schedule import of_app

    found = some_app()
    show_schedules(of_app(found, binding_of(found).settings), found, as_json=as_json)


def show_schedules(found: Iterable[Scheduled], app: Celery, *, as_json: bool = False) -> None:
    """Print a line for each DAG: when it is due next, its schedule, its name."""
    from dagcelery.schedule import Clock

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
