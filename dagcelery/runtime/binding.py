"""What a Celery app was told of dagcelery: settings, a store, an engine a process, and how messages are sent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from celery import Celery
from celery.result import AsyncResult

from dagcelery.errors import NotConfigured
from dagcelery.payload.signing import Keyring
from dagcelery.runtime import canvas, urls
from dagcelery.runtime.apps import Modules, configured
from dagcelery.runtime.engine import Engine
from dagcelery.runtime.observer import Announcer
from dagcelery.runtime.reading import RunView
from dagcelery.runtime.reasons import live_slots
from dagcelery.runtime.sending import sending_errors
from dagcelery.settings import Settings
from dagcelery.store.protocol import Store
from dagcelery.store.records import ReadyStep
from dagcelery.store.redis import store_on_redis

BOOT = "DAGCELERY_BOOT"
"""Environment variable by which a worker's children know their worker, forked or spawned."""
OUR_APP = "dagcelery"
_LATER = 6
"""On Redis 0 is the highest priority, and what a message has that says nothing."""
_SLOTS_KEPT_SECONDS = 2.0


class Binding:
    """What an app was told of dagcelery: settings, and one engine a process."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.keyring = Keyring.parse(settings.signing_key)
        self.imports = Modules(app, settings.imports)
        self.sender = Messages(self)
        self.open_store: Callable[[str], Store] = store_on_redis
        self._store: Store | None = None
        self._engine: Engine | None = None
        self._pid = 0
        # dagcelery's own app, which is not configured yet, takes its settings from the environment alone.
        self._said = configured(app) if cast(Any, app).configured else None

    @property
    def later_priority(self) -> int | None:
        """The priority of new runs, and of what is handed on so that runs take turns; what runs that are under way
        have just made ready outranks it. None on a team's app, where other tasks would outrank it too, and on brokers
        whose queues would have to be declared for it.
        """
        is_ours = self.app.main == OUR_APP and urls.is_redis(self.app.conf.broker_url)
        return _LATER if is_ours else None

    @property
    def store(self) -> Store:
        """The store, opened in this process."""
        self._after_fork()
        if self._store is None:
            if not self.settings.store_url:
                raise NotConfigured(
                    "no store", "set DAGCELERY_STORE_URL to a Redis or Valkey, or attach(app, store_url=...)"
                )
            self._store = self.open_store(urls.for_redis(self.settings.store_url))
        return self._store

    @property
    def engine(self) -> Engine:
        """The engine of this process."""
        self._after_fork()
        if self._engine is None:
            self._check_conf()
            boot = os.environ.get(BOOT, f"client-{os.getpid()}")
            self._engine = Engine(
                self.store,
                self.keyring,
                self.settings,
                self.sender,
                boot=boot,
                observer=Announcer(self.app),
                imports=self.imports,
            )
        return self._engine

    def _check_conf(self) -> None:
        """Refuse settings that were made too late, and would be ignored silently."""
        if self._said is None or (now := configured(self.app)) == self._said:
            return
        late = next(name for name in {**now, **self._said} if now.get(name) != self._said.get(name))
        raise NotConfigured(
            f"app.conf.dagcelery_{late} of the app '{self.app.main}' was set after attach(app)",
            "set it before, since dagcelery reads its settings there",
        )

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            self._pid, self._store, self._engine = os.getpid(), None, None


class Messages:
    """A `Sender` over Celery."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._slots: tuple[float, Mapping[str, int]] = (0.0, {})

    def start(self, view: RunView, opened: Sequence[ReadyStep], *, is_new: bool = False) -> None:
        """Send the canvas that these steps become."""
        priority = self._binding.later_priority if is_new else None
        program = view.program
        made = canvas.Canvas(self._binding.app, program.plan, view.run_id, self.slots, priority, program.home)
        for signature in made.build(opened):
            with sending_errors(self._binding.app):
                _let_go(signature.apply_async())

    def visit(self, run_id: str, queue: str, count: int, delay_seconds: float = 0.0) -> None:
        """Send plain visits."""
        with sending_errors(self._binding.app):
            for _ in range(count):
                self._binding.app.send_task(
                    canvas.VISIT,
                    kwargs={"run": run_id, "queue": queue},
                    queue=queue,
                    ignore_result=True,
                    countdown=delay_seconds or None,
                    priority=self._binding.later_priority,
                )

    def revoke(self, messages: Sequence[str], *, terminate: bool) -> None:
        """Workers that are offline miss it; the store refuses what they would claim."""
        if messages:
            with sending_errors(self._binding.app):
                self._binding.app.control.revoke(list(messages), terminate=terminate)

    def slots(self, queue: str) -> int:
        """Processes of live workers that consume a queue; 1 if nobody is known to."""
        read_at, known = self._slots
        if time.monotonic() - read_at > _SLOTS_KEPT_SECONDS or not read_at:
            known = live_slots(self._binding.store, self._binding.settings.dead_seconds)
            self._slots = (time.monotonic(), known)
        return max(1, known.get(queue, 0))


def _let_go(result: Any) -> None:
    """Stop Celery from waiting for the results of our messages: the store tells what happened, and nobody reads them.

    A chord makes Celery subscribe to each header's result and keep it until it is ready, which an ignored one never
    is; in a worker that would be a subscription and an object for every header, for ever.
    """
    while result is not None:
        for one in getattr(result, "results", None) or (result,):
            backend: Any = getattr(one, "backend", None)
            for waiters in getattr(backend, "_pending_results", ()):
                waiters.pop(one.id, None)
            if hasattr(backend, "result_consumer"):
                backend.result_consumer.cancel_for(one.id)
            if isinstance(one, AsyncResult):
                one.backend = cast(Any, None)  # else it speaks to the broker once more when it is collected
        result = result.parent


_bindings: dict[int, Binding] = {}


def binding_of(app: Celery) -> Binding:
    """What this app was told of dagcelery."""
    return _bindings[id(app)]


def known_binding(app: Celery) -> Binding | None:
    """What this app was told of dagcelery, or None: workers of other apps run in the same process, in tests."""
    return _bindings.get(id(app))


def bind(app: Celery, settings: Settings) -> Binding:
    """Tell an app of dagcelery."""
    _bindings[id(app)] = Binding(app, settings)
    return _bindings[id(app)]
