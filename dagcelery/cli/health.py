"""The verb that looks for what is wrong."""

from __future__ import annotations

import click

from dagcelery.cli.apps import chosen_name, some_app
from dagcelery.cli.plain import plain
from dagcelery.cli.running import as_json, to_json


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Look for what is wrong with servers, settings and workers, and say what would help.

    The exit code is 1 if anything is serious, as a health probe wants it, and 0 otherwise.
    """
    from dagcelery.doctor import CHECKS, Patient, Severity, examine  # late, since it imports Celery
    from dagcelery.runtime.binding import binding_of

    patient = Patient(binding_of(some_app()), name=chosen_name())
    found = examine(patient)
    patient.close()
    serious = sum(finding.severity is Severity.SERIOUS for finding in found)
    if as_json:
        click.echo(to_json({"serious": serious, "findings": [finding.to_dict() for finding in found]}))
    else:
        for finding in found:
            click.echo(plain(f"{finding.severity}: {finding.check}: {finding.what}\n    {finding.remedy}"))
        click.echo(f"{len(CHECKS)} checks, {len(found)} findings, {serious} of them serious", err=True)
    if serious:
        raise click.exceptions.Exit(1)
