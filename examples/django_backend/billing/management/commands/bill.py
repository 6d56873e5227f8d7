"""`python manage.py bill 2026-01` makes the bill of a month and waits for it; without a month, what was not started."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.models import Bill
from billing.pipelines import start
from dagcelery import errors


class Command(BaseCommand):
    """Makes bills; cron may call it, since starting a bill again does nothing."""

    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("month", nargs="?")
        parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for each bill")

    def handle(self, *args: Any, month: str | None, timeout: float, **options: Any) -> None:
        if month:
            Bill.objects.get_or_create(month=month)
        months = [month] if month else [bill.month for bill in Bill.objects.filter(run="")]
        try:
            runs = {each: start(each) for each in months}
            for each, run in runs.items():
                self.stdout.write(f"{each}: {run.result(timeout)} cents")
        except errors.DagceleryError as error:
            raise CommandError(str(error)) from error
