"""A schedule names moments: five fields of cron by the clock of a timezone, also on the days when that is changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcelery import Schedule, dag
from dagcelery.errors import InvalidDag
from dagcelery.worker import beat

BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = datetime(2026, 3, 29), datetime(2026, 10, 25)
"""The clock goes from 02:00 to 03:00, and from 03:00 to 02:00."""


def of_day(cron: str, day: datetime, zone: ZoneInfo = BERLIN) -> list[str]:
    """The ticks of a day, as a clock on the wall shows them, with how far it is from Greenwich."""
    moment = day.replace(tzinfo=zone).astimezone(UTC) - timedelta(seconds=1)
    end = (day + timedelta(days=1)).replace(tzinfo=zone).astimezone(UTC)
    found = []
    while (moment := beat.after(moment, Schedule(cron).numbers, zone)) < end:
        found.append(moment.astimezone(zone).strftime("%H:%M%z")[:-2])
    return found


@pytest.mark.parametrize(
    ("cron", "day", "expected"),
    [
        ("0 3 * * *", datetime(2026, 1, 1), ["03:00+01"]),
        ("0 0,12-14 * * *", datetime(2026, 7, 1), ["00:00+02", "12:00+02", "13:00+02", "14:00+02"]),
        ("0 */9 * jul *", datetime(2026, 7, 1), ["00:00+02", "09:00+02", "18:00+02"]),
        ("0 0 * * mon", datetime(2026, 7, 6), ["00:00+02"]),
        ("0 0 * * 7", datetime(2026, 7, 5), ["00:00+02"]),
        ("0 0 * * 0-4", datetime(2026, 7, 3), []),
        ("0 0 1 * mon", datetime(2026, 7, 1), ["00:00+02"]),  # a Wednesday: as cron has it, either will do
        ("0 0 1 * mon", datetime(2026, 7, 6), ["00:00+02"]),
        ("0 0 */2 * mon", datetime(2026, 7, 1), []),
    ],
)
def test_five_fields_say_when(cron: str, day: datetime, expected: list[str]) -> None:
    assert of_day(cron, day) == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 1 * * *", ["01:30+01"]),
        ("30 2 * * *", ["03:30+02"]),  # as long after midnight as on other days
        ("30 3 * * *", ["03:30+02"]),
        ("30 2,3 * * *", ["03:30+02"]),
        ("30 * * * *", ["00:30+01", "01:30+01", *(f"{hour:02}:30+02" for hour in range(3, 24))]),
    ],
)
def test_on_the_day_that_lacks_an_hour_nothing_is_left_out_that_is_not_hourly(cron: str, expected: list[str]) -> None:
    assert of_day(cron, SPRING) == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 1 * * *", ["01:30+02"]),
        ("30 2 * * *", ["02:30+02"]),
        ("30 2,3 * * *", ["02:30+02", "03:30+01"]),
        (
            "30 * * * *",
            [*(f"{hour:02}:30+02" for hour in range(3)), *(f"{hour:02}:30+01" for hour in range(2, 24))],
        ),
    ],
)
def test_on_the_day_that_has_an_hour_twice_nothing_comes_twice_that_is_not_hourly(
    cron: str, expected: list[str]
) -> None:
    assert of_day(cron, AUTUMN) == expected


def test_every_five_minutes_means_it_also_when_the_clock_is_changed() -> None:
    for day, hours in ((SPRING, 23), (AUTUMN, 25)):
        moment = day.replace(tzinfo=BERLIN).astimezone(UTC)
        for _ in range(hours * 12):
            following = beat.after(moment, Schedule("*/5 * * * *").numbers, BERLIN)
            assert following - moment == timedelta(minutes=5)
            moment = following


@given(
    cron=st.sampled_from(["0 3 * * *", "*/7 1-5 * * *", "30 2 29 2 *", "0 0 31 * *", "15 2 13 * fri", "* * * * *"]),
    moment=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    zone=st.sampled_from(["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "UTC", "Asia/Kathmandu"]),
)
def test_the_last_tick_before_the_next_one_is_the_last_one(cron: str, moment: datetime, zone: str) -> None:
    numbers = Schedule(cron).numbers
    last, following = (find(moment, numbers, ZoneInfo(zone)) for find in (beat.up_to, beat.after))
    assert last <= moment < following
    assert beat.after(last, numbers, ZoneInfo(zone)) == following
    assert beat.up_to(following - timedelta(microseconds=1), numbers, ZoneInfo(zone)) == last


@pytest.mark.parametrize(
    ("cron", "timezone", "told"),
    [
        ("hourly", None, "schedule='hourly': is not made of five fields; write minute, hour, day of the month"),
        ("60 * * * *", None, "has '60', which is not a valid minute from 0 to 59"),
        ("5/10 * * * *", None, "has '5/10', which is a step from one number to nowhere"),
        ("0 0 30 2 *", None, "names a day that no month has"),
        (5, None, "schedule=5: is not a str"),
        ("0 3 * * *", "Europe/Berlim", "timezone='Europe/Berlim': is not a timezone; did you mean 'Europe/Berlin'"),
        ("0 3 * * *", "../etc/passwd", "is not a timezone; write a name such as"),
        ("0 3 * * *", "Europe", "is not a timezone"),
        ("0 3 * * *", 1, "timezone=1: is not a str"),
        (None, "Europe/Berlin", "timezone='Europe/Berlin': has no schedule"),
    ],
)
def test_what_is_no_schedule_is_refused_when_it_is_written(cron: object, timezone: object, told: str) -> None:
    with pytest.raises(InvalidDag) as refused:
        dag(schedule=cron, timezone=timezone)(lambda: None)  # type: ignore[call-overload]
    assert told in str(refused.value)


def test_a_day_that_no_month_has_may_stand_beside_a_day_of_the_week() -> None:
    assert of_day("0 0 30 2 mon", datetime(2026, 2, 2)) == ["00:00+01"]


def test_a_dag_that_needs_parameters_is_not_scheduled() -> None:
    with pytest.raises(InvalidDag) as refused:

        @dag(schedule="0 3 * * *")
        def greedy(n: int, m: int = 0) -> None: ...

    assert str(refused.value) == (
        "the schedule of DAG 'greedy': gives no parameters, and parameter 'n' has no default; "
        "give defaults, or schedule a DAG without parameters that calls this one"
    )
