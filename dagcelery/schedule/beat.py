"""What happens in the process of Celery's beat: its schedule gets our entries, and a due one submits a DAG right there.

Beat submits and not a worker that it sends a message to: the tick is known here and now, nothing that could be forged
says which DAG it is, and a message that waits behind others would start its run late.

If beat dies before a tick's run is remembered, it does that when it is back, as far as its scheduler remembers when it
was last due; if it dies after that, the run goes on, and submitting it again with the same key finds it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from celery import Celery, Task
from celery.apps import beat
from celery.utils.imports import load_extension_class_names, symbol_by_name

from dagcelery.client import Client, Run
from dagcelery.errors import BrokerUnavailable, DagceleryError, NotConfigured, NotSent, StoreUnavailable
from dagcelery.runtime.binding import binding_of
from dagcelery.runtime.paths import search_here
from dagcelery.runtime.worker import Repeated
from dagcelery.schedule.clock import Clock
from dagcelery.schedule.found import Scheduled, of_app

log = logging.getLogger(__name__)

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
    binding = binding_of(app)
    try:
        found = of_app(app, binding.settings)
        if not found:
            return
        if not binding.settings.store_url:
            what = f"DAG {found[0].name!r} has a schedule, and there is no store"
            raise NotConfigured(what, "set DAGCELERY_STORE_URL")
        clocks = {each.name: Clock(each.schedule, app=app) for each in found}
        if _is_redbeat(scheduler):
            for each in found:
                _check_for_redbeat(each, app)
    except DagceleryError as error:
        sys.exit(f"beat does not start: {error}")
    nodes = {each.name: each for each in found}
    app.register_task(_tick(Submitter(Client(binding.settings, app), nodes, clocks)))
    app.conf.beat_schedule = {**(app.conf.beat_schedule or {}), **entries(clocks)}
    log.info("%d DAGs are submitted by the clock", len(found), extra={"action": "scheduled"})


def entries(clocks: Mapping[str, Clock]) -> dict[str, dict[str, Any]]:
    """Return entries as ``app.conf.beat_schedule`` has them."""
    return {f"dagcelery {name}": {"task": TICK, "schedule": clock, "args": [name]} for name, clock in clocks.items()}


class Submitter:
    """Submits DAGs for their last ticks; tries again what could not be submitted, until its next tick comes."""

    def __init__(self, client: Client, scheduled: Mapping[str, Scheduled], clocks: Mapping[str, Clock]) -> None:
        self._client = client
        self._scheduled = scheduled
        self._clocks = clocks
        self._missed: dict[str, datetime] = {}
        self._retries: Repeated | None = None

    def submit(self, name: str) -> Run[Any] | None:
        """Submit a DAG for its last tick; None where store or broker do not take it."""
        tick = self._clocks[name].last_tick()
        self._missed.pop(name, None)
        try:
            return self._submit(name, tick)
        except (StoreUnavailable, BrokerUnavailable, NotSent) as error:
            self._missed[name] = tick
            log.warning("DAG %s, due at %s: %s", name, tick, error, extra={"action": "tick_missed", "dag": name})
            if self._retries is None:
                self._retries = Repeated("dagcelery-ticks", RETRY_SECONDS, self.catch_up)
                self._retries.start()
            return None

    def catch_up(self) -> None:
        """Try again to submit what could not be submitted."""
        for name, tick in list(self._missed.items()):
            try:
                self._submit(name, tick)
            except (StoreUnavailable, BrokerUnavailable, NotSent):
                continue
            except DagceleryError as error:  # which another try would not change
                told = {"action": "tick_refused", "dag": name}
                log.exception("DAG %s, due at %s: %s", name, tick, error, extra=told)  # noqa: TRY401
            if self._missed.get(name) == tick:
                del self._missed[name]

    def _submit(self, name: str, tick: datetime) -> Run[Any]:
        run = self._client.submit(self._scheduled[name].node, key=key(tick))
        told = {"action": "tick", "dag": name, "run": run.id}
        log.info("DAG %s, due at %s: run %s", name, tick, run.id, extra=told)
        return run


def key(tick: datetime) -> str:
    """Return what makes two submissions of a DAG for one tick one run."""
    return f"tick {tick.isoformat()}"


def _tick(submitter: Submitter) -> Task[Any, Any]:
    """Make the task of our entries: schedulers apply it, and it submits instead of sending itself to a worker."""

    class Tick(Task):  # type: ignore[type-arg]  # it is generic to type checkers only
        name = TICK

        def apply_async(self, args: Any = None, kwargs: Any = None, *_: Any, **__: Any) -> Any:
            return submitter.submit(args[0])

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
    if each.schedule.numbers.is_either:
        raise NotConfigured(
            f"DAG {each.name!r} is due on days of the month and on days of the week, and to RedBeat that means both",
            "make two DAGs of it, or use Celery's own scheduler",
        )
