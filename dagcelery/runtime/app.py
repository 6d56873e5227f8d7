"""Celery's side: our two tasks on an app, the processes' engines, and the worker's sign of life."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from celery import Celery, bootsteps, signals

from dagcelery.errors import NotConfigured, StoreUnavailable
from dagcelery.payload.signing import Keyring
from dagcelery.runtime import canvas, urls
from dagcelery.runtime.engine import Engine
from dagcelery.runtime.observer import ENABLED, HOSTNAME, Announcer
from dagcelery.runtime.reading import RunView
from dagcelery.settings import Settings
from dagcelery.store.base import Opened, Store
from dagcelery.store.redis import RedisStore

log = logging.getLogger(__name__)

BOOT = "DAGCELERY_BOOT"
"""Environment variable by which a worker's children know their worker, forked or spawned."""
_SLOTS_KEPT_SECONDS = 2.0


class Binding:
    """What an app was told of dagcelery: settings, and one engine a process."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.keyring = Keyring.parse(settings.signing_key)
        self._store: Store | None = None
        self._engine: Engine | None = None
        self._pid = 0

    @property
    def store(self) -> Store:
        """The store, opened in this process."""
        self._after_fork()
        if self._store is None:
            if not self.settings.store_url:
                raise NotConfigured(
                    "no store", "set DAGCELERY_STORE_URL to a Redis or Valkey, or attach(app, store_url=...)"
                )
            self._store = RedisStore(self.settings.store_url)
        return self._store

    @property
    def engine(self) -> Engine:
        """The engine of this process."""
        self._after_fork()
        if self._engine is None:
            boot = os.environ.get(BOOT, f"client-{os.getpid()}")
            self._engine = Engine(
                self.store,
                self.keyring,
                self.settings,
                Messages(self),
                boot=boot,
                observer=Announcer(self.app),
            )
        return self._engine

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            self._pid, self._store, self._engine = os.getpid(), None, None


class Messages:
    """A `Sender` over Celery."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._slots: tuple[float, Mapping[str, int]] = (0.0, {})

    def start(self, view: RunView, opened: Sequence[Opened]) -> None:
        """Send the canvas that these steps become."""
        made = canvas.Canvas(self._binding.app, view.program.plan, view.run_id, self.slots)
        for signature in made.build(opened):
            _let_go(signature.apply_async())

    def visit(self, run_id: str, queue: str, count: int) -> None:
        """Send plain visits."""
        for _ in range(count):
            self._binding.app.send_task(
                canvas.VISIT, kwargs={"run": run_id, "queue": queue}, queue=queue, ignore_result=True
            )

    def slots(self, queue: str) -> int:
        """Processes of live workers that consume a queue; 1 if nobody is known to."""
        read_at, known = self._slots
        if time.monotonic() - read_at > _SLOTS_KEPT_SECONDS or not read_at:
            known = self._count()
            self._slots = (time.monotonic(), known)
        return max(1, known.get(queue, 0))

    def _count(self) -> dict[str, int]:
        slots: dict[str, int] = {}
        for worker in self._binding.store.workers().values():
            if worker["age"] < self._binding.settings.dead_seconds:
                for queue in worker["queues"]:
                    slots[queue] = slots.get(queue, 0) + worker["slots"]
        return slots


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
        result = result.parent


class Checked(bootsteps.Step):
    """Refuses to start a worker that could not do its work."""

    POOLS = ("celery.concurrency.prefork", "celery.concurrency.thread", "celery.concurrency.solo")

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        _ = binding_of(worker.app).store
        pool = worker.pool_cls if isinstance(worker.pool_cls, str) else worker.pool_cls.__module__
        if not pool.startswith(self.POOLS):
            raise NotConfigured(
                f"a worker with the pool '{pool}'",
                "start it with --pool prefork, threads or solo; others are not supported",
            )


_bindings: dict[int, Binding] = {}


def binding_of(app: Celery) -> Binding:
    """What this app was told of dagcelery."""
    return _bindings[id(app)]


def register(app: Celery, settings: Settings) -> Binding:
    """Put our tasks on an app. It changes no transport option, queue argument or global setting of the app."""
    binding = _bindings[id(app)] = Binding(app, settings)
    app.steps["worker"].add(Checked)
    options: dict[str, Any] = {
        "acks_late": True,
        "reject_on_worker_lost": True,
        "ignore_result": True,
        "serializer": "json",
        "bind": True,
        "max_retries": 0,
        "track_started": False,
        "shared": False,  # else Celery puts them, bound to this app, on every other app of the process too
    }

    @app.task(name=canvas.VISIT, **options)
    def visit(self: Any, run: str, queue: str, focus: str = "") -> None:
        """Work on a run until nothing is ready on the queue, or the message's time is over."""
        _quietly(run, lambda: binding.engine.visit(run, queue, focus, self.request.id or ""))

    @app.task(name=canvas.LINK, **options)
    def link(self: Any, run: str, queue: str, steps: list[str], then: str) -> None:
        """Do one link of a chain."""
        _quietly(run, lambda: binding.engine.links(run, queue, steps, then, self.request.id or ""))

    return binding


def settings_of(app: Celery, *, store_url: str | None, signing_key: str | None) -> Settings:
    """Settings for a team's app: arguments, then DAGCELERY_*, then ``app.conf.dagcelery_*``, then what the app has."""
    given = {"store_url": store_url, "signing_key": signing_key}
    settings = Settings.from_environment(**{name: value for name, value in given.items() if value})
    found: dict[str, Any] = {"broker_url": app.conf.broker_url or settings.broker_url}
    if not settings.signing_key and app.conf.get("dagcelery_signing_key"):
        found["signing_key"] = app.conf.get("dagcelery_signing_key")
    if not settings.store_url:
        candidates = (app.conf.get("dagcelery_store_url"), app.conf.result_backend, app.conf.broker_url)
        found["store_url"] = next((urls.for_redis(url) for url in candidates if urls.is_redis(url)), "")
        if not found["store_url"] and not app.conf.task_always_eager:
            raise NotConfigured(
                f"the app '{app.main}' has no Redis that dagcelery could keep results in",
                "attach(app, store_url='redis://...') or set DAGCELERY_STORE_URL",
            )
    return replace(settings, **found)


def _quietly(run: str, work: Callable[[], None]) -> None:
    """A message never raises: a raising member would keep a chord's body back. What is undone, the store knows."""
    try:
        work()
    except StoreUnavailable as error:
        log.warning("run %s: %s", run, error, extra={"action": "store_unavailable", "run": run})
    except Exception:
        log.exception(
            "run %s: a message ended with an error of dagcelery's own",
            run,
            extra={"action": "bug", "run": run},
        )


# -- dagcelery's own app -------------------------------------------------------------------------
_DEFAULTS = {
    "broker_connection_retry_on_startup": True,
    "worker_prefetch_multiplier": 1,
    "result_expires": 3600,
}


class OwnApp(Celery):
    """Celery's app for who has none: our defaults, then a celeryconfig that ``--config`` names, then DAGCELERY_*."""

    def on_configure(self) -> None:  # type: ignore[override]  # Celery documents it as a hook
        """Take the celeryconfig late: ``celery -A dagcelery --config module`` names it after the app was found."""
        module = os.environ.get("CELERY_CONFIG_MODULE")
        if module:
            self.config_from_object(module)


def make_app(settings: Settings) -> Celery:
    """The app that ``celery -A dagcelery worker`` uses, made from settings."""
    broker, backend = settings.broker_url or None, urls.for_celery(settings.store_url) or None
    app = OwnApp("dagcelery", set_as_current=False, broker=broker, backend=backend)
    app.add_defaults(lambda: _DEFAULTS | ({"task_default_queue": settings.queue} if settings.queue else {}))
    app.set_default()
    logging.getLogger("dagcelery").setLevel(settings.log_level)
    register(app, settings)
    return app


def path_for_users() -> None:
    """Let workers import modules beside the working directory, as ``python -m celery`` does."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


# -- the worker's sign of life -------------------------------------------------------------------
class Alive(threading.Thread):
    """Says every few seconds that a worker lives. A thread: timers of the worker's hub fall silent during outages."""

    def __init__(self, binding: Binding, boot: str, queues: Sequence[str], slots: int) -> None:
        super().__init__(name="dagcelery-alive", daemon=True)
        self._binding = binding
        self._word = (boot, list(queues), slots)
        self._over = threading.Event()

    def run(self) -> None:
        """Announce until stopped; an outage of the store is waited out."""
        store = RedisStore(self._binding.settings.store_url or "")
        while not self._over.is_set():
            try:
                store.announce(*self._word)
            except StoreUnavailable as error:
                log.warning("sign of life: %s", error, extra={"action": "store_unavailable"})
            self._over.wait(self._binding.settings.alive_seconds)
        try:
            store.retire(self._word[0])
        except StoreUnavailable:
            log.warning("the store was out of reach at the end", extra={"action": "store_unavailable"})
        store.close()

    def stop(self) -> None:
        """Leave in good order."""
        self._over.set()
        self.join(timeout=2.0)


_alive: dict[int, Alive] = {}


@signals.worker_init.connect(weak=False)
def _name_boot(sender: Any = None, **_: Any) -> None:
    os.environ[BOOT] = uuid.uuid4().hex[:12]
    if sender is not None and getattr(sender, "task_events", False):
        os.environ[ENABLED] = "1"
        os.environ[HOSTNAME] = sender.hostname
    path_for_users()


@signals.worker_ready.connect(weak=False)
def _announce(sender: Any = None, **_: Any) -> None:
    binding = _bindings.get(id(sender.app))
    if binding is not None and binding.settings.store_url:
        queues = [queue.name for queue in sender.task_consumer.queues]
        thread = Alive(binding, os.environ[BOOT], queues, sender.controller.concurrency or 1)
        _alive[id(sender.app)] = thread
        thread.start()


@signals.worker_shutdown.connect(weak=False)
def _retire(sender: Any = None, **_: Any) -> None:
    for thread in list(_alive.values()):
        thread.stop()
    _alive.clear()
