"""A schedule is five fields of cron: minute, hour, day of the month, month, day of the week."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dagcelery.frontends.yaml.entries import Entry


@dataclass(frozen=True, slots=True)
class Field:
    """What one field may hold: numbers from `low` to `high`, or `names` of them, in order from `low` on."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def wrong(self, text: str) -> str:
        """Return what is wrong with the text of this field; nothing is an empty text."""
        return next(filter(None, map(self._wrong_part, text.split(","))), "")

    def _wrong_part(self, part: str) -> str:
        span, slash, step = part.partition("/")
        if slash and not (re.fullmatch("[0-9]{1,4}", step) and int(step)):
            return f"has the step {step!r}, which is no number above 0"
        if span == "*":
            return ""
        ends = [self._number(end) for end in span.split("-", 1)]
        if None in ends:
            return f"has {span!r}, which is no {self.name} from {self.low} to {self.high}"
        return "" if ends == sorted(ends, key=lambda end: end or 0) else f"has {span!r}, which ends before it begins"

    def _number(self, text: str) -> int | None:
        if text.lower() in self.names:
            return self.low + self.names.index(text.lower())
        number = int(text) if re.fullmatch("[0-9]{1,2}", text) else -1
        return number if self.low <= number <= self.high else None


_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

FIELDS: Final = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of the month", 1, 31),
    Field("month", 1, 12, _MONTHS),
    Field("day of the week", 0, 7, _DAYS),
)


def schedule_of(entry: Entry) -> str | None:
    """Return a schedule with single blanks between its fields; None where there is nothing."""
    if entry.value is None:
        return None
    parts = entry.text().split()
    if len(parts) != len(FIELDS):
        names = ", ".join(field.name for field in FIELDS)
        entry.refuse(f"{entry.value!r} is not made of five fields", f'write {names}, such as "*/5 * * * *"')
    for field, part in zip(FIELDS, parts, strict=True):
        if wrong := field.wrong(part):
            entry.refuse(f"{entry.value!r} {wrong}", 'write five fields of cron, such as "*/5 * * * *"')
    return " ".join(parts)
