"""Make a report every night with Celery's beat: ``DAGCELERY_IMPORTS=examples.schedule celery -A dagcelery beat``.

Notice that a DAG with a schedule is an ordinary DAG: it can be called, invoked and submitted at any time. Its
parameters have defaults, since beat gives it none. Two beats would start one run a night, because its key is made of
the DAG's name and the time it was due.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from dagcelery import Schedule, dag, task
from dagcelery.worker import beat

BERLIN = ZoneInfo("Europe/Berlin")


@task
def orders(shop: str) -> list[str]:
    """Stand in for a database."""
    return ["pen", "ink", "paper"] if shop == "main" else []


@task
def summary(found: list[str]) -> str:
    """Format the number of orders."""
    return f"{len(found)} orders"


@dag(schedule="30 2 * * *", timezone="Europe/Berlin")
def report(shop: str = "main") -> str:
    """Report the number of orders."""
    return summary(orders(shop))


def due_after(day: str, schedule: Schedule) -> str:
    """Return when a schedule is due next, as Berlin time."""
    moment = datetime.fromisoformat(day).replace(tzinfo=BERLIN).astimezone(UTC)
    return beat.after(moment, schedule.numbers, BERLIN).astimezone(BERLIN).isoformat()


if __name__ == "__main__":
    schedule = report.schedule
    assert schedule is not None
    print(f"on most days: {due_after('2026-03-28', schedule)}")
    print(f"the clock goes forward: {due_after('2026-03-29', schedule)}")
    print(f"the clock goes back: {due_after('2026-10-25', schedule)}")
