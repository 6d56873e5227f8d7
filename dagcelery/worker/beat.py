"""Runs by the clock: DAGs with a schedule become entries of Celery's beat, which submits each once a tick.

A tick is a time that a schedule names. Its run has a key made of the DAG's name and that time, so that several beats,
or one that dies while it submits, start one run.

Where the clock is put forward, a tick in the hour that is left out comes as long after midnight as on other days:
02:30 at 03:30. Where it is put back, a tick in the hour that comes twice comes once, the first time. But a
schedule of every hour knows no such days: it leaves out what is left out, and comes again in what comes again.

Beat submits and not a worker that it sends a message to: the tick is known here and now, nothing that could be forged
says which DAG it is, and a message that waits behind others would start its run late.

If beat dies before a tick's run is remembered, it does that when it is back, as far as its scheduler remembers when it
was last due; if it dies after that, the run goes on, and submitting it again with the same key finds it.
"""

from __future__ import annotations

import glob
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache, partial
from typing import Any, Final, TypeGuard, cast
from uuid import uuid4
from zoneinfo import ZoneInfo

import celery
from celery import Celery, Task, signals
from celery.apps import beat
from celery.schedules import crontab, schedstate
from celery.utils.imports import load_extension_class_names, symbol_by_name

from dagcelery.client import Client, Run
from dagcelery.errors import (
    BrokerUnavailable,
    DagceleryError,
    InvalidDag,
    InvalidSetting,
    NotConfigured,
    NotSent,
    StoreUnavailable,
)
from dagcelery.frontends.yaml import load
from dagcelery.importing import Unimportable, import_module
from dagcelery.model import DAG, EMPTY, Buildable, FromParam
from dagcelery.model.schedules import CronFields, Schedule, check_given
from dagcelery.settings import Settings
from dagcelery.worker.app import app_context_of, search_here
from dagcelery.worker.heartbeat import Repeated
from dagcelery.worker.signals import fire_as_raised

_DAY: Final = timedelta(days=1)
# The 29th of February of a leap year is at most eight years away.
_MOST_DAYS: Final = 366 * 8 + 2


def after(moment: datetime, numbers: CronFields, zone: tzinfo) -> datetime:
    """Return the first tick after a moment, in UTC."""
    return next(tick for tick in _from(moment, _DAY, numbers, zone) if tick > moment)


def up_to(moment: datetime, numbers: CronFields, zone: tzinfo) -> datetime:
    """Return the last tick that is not after a moment, in UTC."""
    return next(tick for tick in _from(moment, -_DAY, numbers, zone) if tick <= moment)


def _from(moment: datetime, step: timedelta, numbers: CronFields, zone: tzinfo) -> Iterator[datetime]:
    """Yield ticks day by day, each day's in the direction of `step`."""
    # What is put off by a change of the clock may stand on the day before.
    day = moment.astimezone(zone).date() - step
    for _ in range(_MOST_DAYS):
        ticks = _of_day(day, numbers, zone)
        yield from ticks if step > timedelta() else reversed(ticks)
        day += step


@lru_cache(maxsize=256)
def _of_day(day: date, numbers: CronFields, zone: tzinfo) -> tuple[datetime, ...]:
    if not _is_meant(day, numbers):
        return ()
    walls = (datetime.combine(day, time(hour, minute), zone) for hour in numbers.hours for minute in numbers.minutes)
    return tuple(sorted({moment for wall in walls for moment in _moments(wall, is_hourly=numbers.is_hourly)}))


def _is_meant(day: date, numbers: CronFields) -> bool:
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
        """Return the last tick that is not in the future."""
        return up_to(self._now(), self._numbers, self.tz)

    def next_tick(self) -> datetime:
        """Return the first tick that is in the future."""
        return after(self._now(), self._numbers, self.tz)

    def is_due(self, last_run_at: datetime) -> Any:
        """Return whether it is due, and in how many seconds to look again."""
        now, last = self._now(), self.last_tick()
        is_due = last > self._in_utc(last_run_at) and not self._is_too_late(now - last)
        return schedstate(is_due, (self.next_tick() - now).total_seconds())

    def remaining_estimate(self, last_run_at: datetime, ffwd: Any = None) -> timedelta:
        """Return how long it is until the first tick after it was last due."""
        return after(self._in_utc(last_run_at), self._numbers, self.tz) - self._now()

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
        """Return whether Celery's own setting says that a missed tick is not to be made up for."""
        most = self.app.conf.beat_cron_starting_deadline
        return most is not None and late.total_seconds() > most


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A DAG that the clock submits."""

    name: str
    node: Buildable[..., Any] | DAG
    schedule: Schedule


def of_app(app: Celery, settings: Settings) -> list[Scheduled]:
    """Return the DAGs that an app's beat is to submit, by name.

    Raises InvalidDag where one needs parameters or two have one name, InvalidSetting where a module cannot be imported.
    """
    search_here()
    app.loader.import_default_modules()
    nodes = [node for module in _modules(app, settings.imports) for node in vars(sys.modules[module]).values()]
    return _checked([*_scheduled(nodes), *of_files(settings.workflows)])


def of_files(patterns: Iterable[str]) -> list[Scheduled]:
    """Return the workflows with a schedule in YAML files. Raises InvalidConfig, and InvalidSetting if there is none."""
    scheduled: list[Scheduled] = []
    for pattern in patterns:
        paths = sorted(glob.glob(pattern, recursive=True))
        if not paths:
            raise InvalidSetting("DAGCELERY_WORKFLOWS", f"names {pattern!r}, which matches no file", "write a path")
        for path in dict.fromkeys(paths):
            scheduled += _scheduled([workflow.dag for workflow in load(path)])
    return _checked(scheduled)


def _modules(app: Celery, imports: Iterable[str]) -> list[str]:
    """Import what is named, and return the names of the modules in which DAGs may stand.

    Of a package those modules count that are loaded by then: to import others, which were not named, might do anything.
    """
    for name in imports:
        try:
            import_module(name)
        except Unimportable as error:
            raise InvalidSetting("DAGCELERY_IMPORTS", error.problem, error.remedy) from error
    named = (*imports, *(str(name) for name in cast(Any, app.loader).task_modules))
    loaded = [name for name in sys.modules if any(f"{name}.".startswith(f"{each}.") for each in named)]
    beside = [name for name, module in list(sys.modules.items()) if app in _apps(module)]
    return list(dict.fromkeys([*loaded, *beside]))


def _apps(module: object) -> Iterator[Celery]:
    return (found for found in list(getattr(module, "__dict__", {}).values()) if _is_a(found, Celery))


def _is_a(found: object, kind: Any) -> TypeGuard[Any]:
    """Return whether what stands in a module is of a kind; lazy ones, such as Django's settings, may raise at that."""
    try:
        return isinstance(found, kind)
    except Exception:
        return False


def _scheduled(nodes: Iterable[object]) -> Iterator[Scheduled]:
    for node in nodes:
        if not _is_a(node, DAG | Buildable) or isinstance(node, type):
            continue
        if isinstance(node, DAG) or getattr(node, "schedule", None):  # others need not be built to know that
            dag = node if isinstance(node, DAG) else node.__dag__()
            if dag.options.schedule is not None:
                yield Scheduled(dag.name or "", node, dag.options.schedule)


def _checked(found: Iterable[Scheduled]) -> list[Scheduled]:
    by_name: dict[str, Scheduled] = {}
    for each in found:
        dag = each.node if isinstance(each.node, DAG) else each.node.__dag__()
        if not each.name:
            raise InvalidDag(f"a DAG with the schedule {each.schedule}", "has no name", "give DAG(..., name='nightly')")
        required = [
            name
            for name, source in dag.inputs.items()
            if isinstance(source, FromParam) and source.default_value is EMPTY
        ]
        check_given(each.name, required)
        other = by_name.setdefault(each.name, each)
        if other.node is not each.node:
            raise InvalidDag(f"two DAGs named {each.name!r}", "have a schedule", "give one of them another name")
    return [by_name[name] for name in sorted(by_name)]


log = logging.getLogger(__name__)

Monitored = Callable[[Exception | None], None]
"""Hears what came of a tick: None once its run is submitted, or the error for which there will be none."""

TICK: Final = "dagcelery.tick"

RETRY_SECONDS: Final = 5.0


class Beat(beat.Beat):
    """Celery's beat, whose schedule is complete before a scheduler reads it; the signal for it comes too late."""

    def init_loader(self) -> None:
        """Import the app's modules, and add entries for the DAGs in them."""
        search_here()
        super().init_loader()
        prepare(cast(Celery, self.app), cast(Any, self).scheduler_cls)


def prepare(app: Celery, scheduler: object = None) -> None:
    """Put entries for all scheduled DAGs into an app's schedule. Ends the process if that cannot be done."""
    app_context = app_context_of(app)
    try:
        scheduled = of_app(app, app_context.settings)
        if not scheduled:
            return
        if not app_context.settings.store_url:
            problem = f"DAG {scheduled[0].name!r} has a schedule, but no store is set"
            raise NotConfigured(problem, "set DAGCELERY_STORE_URL")
        clocks = {each.name: Clock(each.schedule, app=app) for each in scheduled}
        if _is_redbeat(scheduler):
            for each in scheduled:
                _check_for_redbeat(each, app)
    except DagceleryError as error:
        sys.exit(f"beat does not start: {error}")
    nodes = {each.name: each for each in scheduled}
    app.register_task(_tick(Submitter(Client(app_context.settings, app), nodes, clocks)))
    app.conf.beat_schedule = {**(app.conf.beat_schedule or {}), **entries(clocks)}
    log.info("%d DAGs are submitted by the clock", len(scheduled), extra={"action": "scheduled"})


def entries(clocks: Mapping[str, Clock]) -> dict[str, dict[str, Any]]:
    """Return entries as ``app.conf.beat_schedule`` has them."""
    return {f"dagcelery {name}": {"task": TICK, "schedule": clock, "args": [name]} for name, clock in clocks.items()}


class Submitter:
    """Submits DAGs for their last ticks; tries again what could not be submitted, until its next tick comes."""

    def __init__(self, client: Client, scheduled: Mapping[str, Scheduled], clocks: Mapping[str, Clock]) -> None:
        self._client = client
        self._scheduled = scheduled
        self._clocks = clocks
        self._missed: dict[str, tuple[datetime, Monitored, Exception]] = {}
        self._retries: Repeated | None = None

    def submit(self, name: str, monitored: Monitored = lambda error: None) -> Run[Any] | None:
        """Submit a DAG for its last tick; None where store or broker do not take it."""
        tick = self._clocks[name].last_tick()
        if missed := self._missed.pop(name, None):
            _, was_monitored, error = missed
            was_monitored(error)
        try:
            return self._submit(name, tick, monitored)
        except (StoreUnavailable, BrokerUnavailable, NotSent) as error:
            self._missed[name] = tick, monitored, error
            log.warning("DAG %s, due at %s: %s", name, tick, error, extra={"action": "tick_missed", "dag": name})
            if self._retries is None:
                self._retries = Repeated("dagcelery-ticks", RETRY_SECONDS, self.catch_up)
                self._retries.start()
            return None

    def catch_up(self) -> None:
        """Try again to submit what could not be submitted."""
        for name, missed in list(self._missed.items()):
            tick, monitored, _ = missed
            try:
                self._submit(name, tick, monitored)
            except (StoreUnavailable, BrokerUnavailable, NotSent):
                continue
            except DagceleryError as error:  # which another try would not change
                about = {"action": "tick_refused", "dag": name}
                log.exception("DAG %s, due at %s: %s", name, tick, error, extra=about)  # noqa: TRY401
            if self._missed.get(name) is missed:
                del self._missed[name]

    def _submit(self, name: str, tick: datetime, monitored: Monitored) -> Run[Any]:
        try:
            run = self._client.submit(self._scheduled[name].node, key=key(tick))
        except (StoreUnavailable, BrokerUnavailable, NotSent):
            raise
        except Exception as error:
            monitored(error)
            raise
        monitored(None)
        about = {"action": "tick", "dag": name, "run": run.id}
        log.info("DAG %s, due at %s: run %s", name, tick, run.id, extra=about)
        return run


def key(tick: datetime) -> str:
    """Return what makes two submissions of a DAG for one tick one run."""
    return f"tick {tick.isoformat()}"


def _tick(submitter: Submitter) -> Task[Any, Any]:
    """Make the task of our entries: schedulers apply it, and it submits instead of sending itself to a worker."""

    class Tick(Task):  # type: ignore[type-arg]  # it is generic to type checkers only
        name = TICK

        def apply_async(self, args: Any = None, kwargs: Any = None, *_: Any, headers: Any = None, **__: Any) -> Any:
            return submitter.submit(args[0], partial(self.tell, headers))

        def tell(self, headers: Any, error: Exception | None) -> None:
            """Tell who monitors the entry, as Sentry does by headers that it gives it, what came of a tick."""
            if not headers:
                return
            self.push_request(id=str(uuid4()), headers=dict(headers), called_directly=False)
            try:
                if error is None:
                    signals.task_success.send(sender=self, result=None)
                else:
                    about: dict[str, Any] = {"task_id": self.request.id, "args": (), "kwargs": {}, "exception": error}
                    fire_as_raised(error, partial(self.fire, about))
            finally:
                self.pop_request()

        def fire(self, about: dict[str, Any], einfo: Any, trace: Any) -> None:
            signals.task_failure.send(sender=self, einfo=einfo, traceback=trace, **about)

    return Tick()


def _is_redbeat(scheduler: object) -> bool:
    aliases: Any = load_extension_class_names("celery.beat_schedulers")
    kinds = getattr(symbol_by_name(cast(Any, scheduler), aliases=dict(aliases)), "__mro__", ()) if scheduler else ()
    return any(kind.__module__.startswith("redbeat.") for kind in kinds)


def _check_for_redbeat(each: Scheduled, app: Celery) -> None:
    """RedBeat writes entries down as Celery's own crontabs, so that a schedule may not say more than these can."""
    if each.schedule.timezone not in (None, str(app.timezone)):
        raise NotConfigured(
            f"DAG {each.name!r} goes by the clock of {each.schedule.timezone}, and RedBeat by that of its app, "
            f"{app.timezone}",
            f"set the app's timezone to {each.schedule.timezone}, or use Celery's own scheduler",
        )
    if celery.VERSION[:2] < (5, 7) and str(app.timezone) != "UTC":  # its crontabs compare local hours with UTC
        raise NotConfigured(
            f"DAG {each.name!r} would be hours late under RedBeat with Celery {celery.__version__} and {app.timezone}",
            "upgrade Celery to 5.7, set the app's timezone to UTC, or use Celery's own scheduler",
        )
    if each.schedule.numbers.is_either:
        raise NotConfigured(
            f"DAG {each.name!r} is due on days of the month and on days of the week, and to RedBeat that means both",
            "make two DAGs of it, or use Celery's own scheduler",
        )
