"""A schedule says when a DAG is run: five fields of cron, and the timezone whose clock they mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from dagcelery.errors import InvalidDag
from dagcelery.text import choices, constructor_repr, listed, shown

REMEDY: Final = 'write five fields of cron, such as "*/5 * * * *"'

_LONGEST: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Field:
    """What one field may hold: numbers from `low` to `high`, or `names` of them, in order from `low` on."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def problem(self, text: str) -> str:
        """Return the problem of a text of this field; "" if there is none."""
        return next(filter(None, map(self._problem_of_part, text.split(","))), "")

    def numbers(self, text: str) -> frozenset[int]:
        """Return the numbers that a valid text stands for."""
        return frozenset(number for part in text.split(",") for number in self._numbers_of(part))

    def _problem_of_part(self, part: str) -> str:
        span, slash, step = part.partition("/")
        if slash and not (re.fullmatch("[0-9]{1,4}", step) and int(step)):
            return f"has the step {step!r}, which is not a number above 0"
        if span == "*":
            return ""
        ends = [self._number(end) for end in span.split("-", 1)]
        if None in ends:
            return f"has {span!r}, which is not a valid {self.name} from {self.low} to {self.high}"
        if slash and len(ends) == 1:
            return f"has {part!r}, which is a step from one number to nowhere"
        return "" if ends == sorted(ends, key=lambda end: end or 0) else f"has {span!r}, which ends before it begins"

    def _number(self, text: str) -> int | None:
        if text.lower() in self.names:
            return self.low + self.names.index(text.lower())
        number = int(text) if re.fullmatch("[0-9]{1,2}", text) else -1
        return number if self.low <= number <= self.high else None

    def _numbers_of(self, part: str) -> Iterator[int]:
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        ends = (self.low, self.high) if span == "*" else (self._number(low), self._number(high or low))
        yield from range(ends[0] or 0, (ends[1] or 0) + 1, int(step or 1))


_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

FIELDS: Final = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of the month", 1, 31),
    Field("month", 1, 12, _MONTHS),
    Field("day of the week", 0, 7, _DAYS),
)


@dataclass(frozen=True, slots=True)
class CronFields:
    """The numbers that five fields stand for; of the days of the week 0 is Sunday.

    `is_either` says that a day of the month or one of the week will do: cron's rule where both are named.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_either: bool

    @property
    def is_hourly(self) -> bool:
        """Whether every hour of a day is meant, also one that a day has twice."""
        return len(self.hours) == 24


def cron_fault(text: str) -> tuple[str, str] | None:
    """Return the problem of five fields of cron and the remedy, or None."""
    parts = text.split()
    if len(parts) != len(FIELDS):
        names = ", ".join(field.name for field in FIELDS)
        return "is not made of five fields", f'write {names}, such as "*/5 * * * *"'
    for field, part in zip(FIELDS, parts, strict=True):
        if problem := field.problem(part):
            return problem, REMEDY
    cron = numbers_of(text)
    if not cron.is_either and not any(day <= _LONGEST[month - 1] for month in cron.months for day in cron.days):
        return "names a day that no month has", "write a day that there is"
    return None


def numbers_of(text: str) -> CronFields:
    """Return the numbers of five valid fields."""
    parts = text.split()
    minutes, hours, days, months, weekdays = (field.numbers(part) for field, part in zip(FIELDS, parts, strict=True))
    is_either = not parts[2].startswith("*") and not parts[4].startswith("*")
    return CronFields(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), is_either)


@dataclass(frozen=True, slots=True, repr=False)
class Schedule:
    """Times at which a DAG is submitted, such as ``Schedule("0 3 * * *", "Europe/Berlin")``. Raises InvalidDag.

    Without a timezone the Celery app's is meant, which is UTC unless it says otherwise.
    """

    cron: str
    timezone: str | None = None

    __repr__ = constructor_repr

    def __post_init__(self) -> None:
        if not isinstance(self.cron, str):
            raise InvalidDag(
                f"schedule={shown(self.cron)}", "is not a str", 'give five fields of cron, such as "*/5 * * * *"'
            )
        if fault := cron_fault(self.cron):
            raise InvalidDag(f"schedule={shown(self.cron)}", *fault)
        object.__setattr__(self, "cron", " ".join(self.cron.split()))
        if fault := timezone_fault(self.timezone):
            raise InvalidDag(f"timezone={shown(self.timezone)}", *fault)

    def __str__(self) -> str:
        return f"{self.cron} {self.timezone}" if self.timezone else self.cron

    @property
    def numbers(self) -> CronFields:
        """The numbers that its five fields stand for."""
        return numbers_of(self.cron)


def timezone_fault(name: object) -> tuple[str, str] | None:
    """Return the problem of a timezone's name and the remedy, or None."""
    if name is None:
        return None
    if not isinstance(name, str):
        return "is not a str", 'give a name such as "Europe/Berlin"'
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # of a name, of a path, of a folder
        near = choices(name, available_timezones())
        return "is not a timezone", near if near.startswith("did you") else 'write a name such as "Europe/Berlin"'
    return None


def check_given(name: str, needed: Sequence[str]) -> None:
    """Refuse a schedule of a DAG that needs parameters: the clock has none to give."""
    if needed:
        parameters = f"parameter {needed[0]!r} has" if len(needed) == 1 else f"parameters {listed(needed)} have"
        raise InvalidDag(
            f"the schedule of DAG {name!r}",
            f"gives no parameters, and {parameters} no default",
            "give defaults, or schedule a DAG without parameters that calls this one",
        )
