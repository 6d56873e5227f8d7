"""A team's Celery app whose time the test tells, on the embedded server, and beats of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery, current_app
from celery.beat import PersistentScheduler, Scheduler

from dagcelery import Run, attach
from dagcelery.client import set_default
from dagcelery.local import Server
from dagcelery.store.keys import Keys
from dagcelery.worker.beat import prepare


class Beats:
    """Beats of one team, each with a memory of its own, and a clock that stands still until it is set."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.now = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
        self._folder = folder

    def app(self, *imports: str, **conf: Any) -> Celery:
        """Make the team's app as one more process has it."""
        app = Celery("team", set_as_current=False)
        addresses = {"broker_url": self.server.url, "result_backend": self.server.url}
        app.conf.update(addresses | {"dagcelery_imports": imports or ("workers.schedule.clockwork",)} | conf)
        app.now = lambda: self.now  # type: ignore[method-assign]  # Celery's clock
        app.set_current()  # schedules that a file remembers know no other app
        attach(app, signing_key="secret")
        return app

    def start(self, name: str = "first", **conf: Any) -> Scheduler:
        """Start a beat of the team's app."""
        app = self.app(**conf)
        prepare(app)
        return self.remembering(app, name)

    def remembering(self, app: Celery, name: str) -> Scheduler:
        """Make a scheduler that remembers in a file of this name when it was last due."""
        return PersistentScheduler(app, schedule_filename=str(self._folder / name))

    def at(self, moment: str, *schedulers: Any) -> None:
        """Set the clock, and let these beats do all that is due."""
        self.now = datetime.fromisoformat(moment)
        for scheduler in schedulers:
            while scheduler.tick() == 0:
                pass

    def waiting(self) -> list[Run[Any]]:
        """The runs that are remembered and wait for workers."""
        with redis.Redis.from_url(self.server.url) as raw:
            return [Run(each.decode()) for each in raw.zrange(Keys().active, 0, -1)]

    def runs(self) -> list[str]:
        """The names of the DAGs that they are runs of."""
        return sorted(run.status().name.rpartition(":")[2] for run in self.waiting())


@pytest.fixture
def beats(server: Server, tmp_path: Path) -> Iterator[Beats]:
    """Beats on an empty server; nobody's client stays the default one."""
    replaced, before = set_default(None), current_app._get_current_object()
    yield Beats(server, tmp_path)
    set_default(replaced)
    before.set_current()
