"""The times that a schedule names, as moments; what a timezone's clock shows on the days when it is changed is decided
here.

Where the clock is put forward, what was due in the hour that is left out comes as long after midnight as on other days:
02:30 at 03:30. Where it is put back, what was due in the hour that comes twice comes once, the first time. But a
schedule of every hour knows no such days: it leaves out what is left out, and comes again in what comes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Final

from dagcelery.model.cron import Numbers

_DAY: Final = timedelta(days=1)
# The 29th of February of a leap year is at most eight years away.
_MOST_DAYS: Final = 366 * 8 + 2


def after(moment: datetime, numbers: Numbers, zone: tzinfo) -> datetime:
    """Return the first tick after a moment, in UTC."""
    return next(tick for tick in _from(moment, _DAY, numbers, zone) if tick > moment)


def up_to(moment: datetime, numbers: Numbers, zone: tzinfo) -> datetime:
    """Return the last tick that is not after a moment, in UTC."""
    return next(tick for tick in _from(moment, -_DAY, numbers, zone) if tick <= moment)


def _from(moment: datetime, step: timedelta, numbers: Numbers, zone: tzinfo) -> Iterator[datetime]:
    """Yield ticks day by day, each day's in the direction of `step`."""
    # What is put off by a change of the clock may stand on the day before.
    day = moment.astimezone(zone).date() - step
    for _ in range(_MOST_DAYS):
        found = _of_day(day, numbers, zone)
        yield from found if step > timedelta() else reversed(found)
        day += step


@lru_cache(maxsize=256)
def _of_day(day: date, numbers: Numbers, zone: tzinfo) -> tuple[datetime, ...]:
    if not _is_meant(day, numbers):
        return ()
    walls = (datetime.combine(day, time(hour, minute), zone) for hour in numbers.hours for minute in numbers.minutes)
    return tuple(sorted({moment for wall in walls for moment in _moments(wall, is_hourly=numbers.is_hourly)}))


def _is_meant(day: date, numbers: Numbers) -> bool:
    is_day, is_weekday = day.day in numbers.days, day.isoweekday() % 7 in numbers.weekdays
    return day.month in numbers.months and (is_day or is_weekday if numbers.is_either else is_day and is_weekday)


def _moments(wall: datetime, *, is_hourly: bool) -> Iterator[datetime]:
    """Yield the moments at which a clock that shows `wall` means a tick: mostly one."""
    moment = wall.astimezone(UTC)
    is_shown = moment.astimezone(wall.tzinfo).replace(tzinfo=None) == wall.replace(tzinfo=None)
    if is_shown or not is_hourly:
        yield moment
    if is_shown and is_hourly:
        yield wall.replace(fold=1).astimezone(UTC)
