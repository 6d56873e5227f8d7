"""When a DAG is run by the clock: five fields of cron, and the timezone whose clock they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo, available_timezones

from dagcelery.errors import InvalidDag
from dagcelery.model.cron import Numbers, numbers_of, wrong_with
from dagcelery.model.reprs import constructor_repr
from dagcelery.text import choices, listed, shown


@dataclass(frozen=True, slots=True)
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
        if wrong := wrong_with(self.cron):
            raise InvalidDag(f"schedule={shown(self.cron)}", *wrong)
        object.__setattr__(self, "cron", " ".join(self.cron.split()))
        if wrong := wrong_timezone(self.timezone):
            raise InvalidDag(f"timezone={shown(self.timezone)}", *wrong)

    def __str__(self) -> str:
        return f"{self.cron} {self.timezone}" if self.timezone else self.cron

    @property
    def numbers(self) -> Numbers:
        """The numbers that its five fields stand for."""
        return numbers_of(self.cron)


def schedule_of(cron: object, timezone: object) -> Schedule | None:
    """Return what the two words of a decorator say; a timezone alone says nothing and is refused."""
    if cron is None and timezone is not None:
        raise InvalidDag(f"timezone={shown(timezone)}", "has no schedule", 'give schedule="0 3 * * *" as well')
    return None if cron is None else Schedule(cron, timezone)  # type: ignore[arg-type]  # it looks at them itself


def wrong_timezone(name: object) -> tuple[str, str] | None:
    """Return what is wrong with a timezone's name and what would be right, or None."""
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
        what = f"parameter {needed[0]!r} has" if len(needed) == 1 else f"parameters {listed(needed)} have"
        raise InvalidDag(
            f"the schedule of DAG {name!r}",
            f"gives no parameters, and {what} no default",
            "give defaults, or schedule a DAG without parameters that calls this one",
        )
