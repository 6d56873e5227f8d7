"""A schedule as Celery's beat understands it: a crontab with a timezone of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from celery import Celery
from celery.schedules import crontab, schedstate

from dagcelery.model.schedules import Schedule
from dagcelery.schedule import ticks


class Clock(crontab):
    """Due when a tick has passed since it was last due; of several that have, only the last counts.

    Celery's own crontab has the app's timezone, and on the two days a year when a clock is changed it counts hours in
    its own way. Schedulers that write schedules down as crontabs find here what they look for.
    """

    def __init__(
        self, schedule: Schedule, *, nowfun: Callable[[], datetime] | None = None, app: Celery | None = None
    ) -> None:
        self._schedule = schedule
        self._numbers = numbers = schedule.numbers
        fields = (numbers.minutes, numbers.hours, numbers.weekdays, numbers.days, numbers.months)
        texts = [
            "*" if len(field) == most else ",".join(map(str, sorted(field)))
            for field, most in zip(fields, (60, 24, 7, 31, 12), strict=True)
        ]
        super().__init__(*texts, nowfun=nowfun, app=app)

    @property
    def tz(self) -> Any:
        """Its own timezone, or the app's."""
        return ZoneInfo(self._schedule.timezone) if self._schedule.timezone else self.app.timezone

    def last_tick(self) -> datetime:
        """The last tick that is not in the future."""
        return ticks.up_to(self._now(), self._numbers, self.tz)

    def next_tick(self) -> datetime:
        """The first tick that is in the future."""
        return ticks.after(self._now(), self._numbers, self.tz)

    def is_due(self, last_run_at: datetime) -> Any:
        """Whether it is due, and in how many seconds to look again."""
        now, last = self._now(), self.last_tick()
        is_due = last > self._in_utc(last_run_at) and not self._is_too_late(now - last)
        return schedstate(is_due, (self.next_tick() - now).total_seconds())

    def remaining_estimate(self, last_run_at: datetime, ffwd: Any = None) -> timedelta:
        """How long it is until the first tick after it was last due."""
        return ticks.after(self._in_utc(last_run_at), self._numbers, self.tz) - self._now()

    def __reduce__(self) -> Any:
        return Clock, (self._schedule,)

    def __repr__(self) -> str:
        return f"<clock: {self._schedule}>"

    def __eq__(self, other: object) -> bool:
        return self._schedule == other._schedule if isinstance(other, Clock) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as Celery's

    def _now(self) -> datetime:
        return self._in_utc(self.now())

    def _in_utc(self, moment: datetime) -> datetime:
        return self.maybe_make_aware(moment).astimezone(UTC)

    def _is_too_late(self, late: timedelta) -> bool:
        """Whether Celery's own setting for it says that a missed tick is not to be made up for."""
        most = self.app.conf.beat_cron_starting_deadline
        return most is not None and late.total_seconds() > most
