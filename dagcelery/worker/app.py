"""Celery's side: our two tasks on an app, a team's or our own, and the app's context of dagcelery.

The context has the app's settings, store and sender, and one engine for each process. This module reads the app's
configuration, and knows where the modules of its tasks are looked for.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextvars import copy_context
from dataclasses import replace
from functools import wraps
from types import MappingProxyType
from typing import Any, Concatenate, Final, ParamSpec, cast

from celery import Celery, signals
from celery._state import _tls as tls  # type: ignore[attr-defined]
from celery.result import AsyncResult
from celery.utils.functional import maybe_list
from celery.utils.imports import import_from_cwd, symbol_by_name

from dagcelery.engine.hooks import Listener, Listeners
from dagcelery.engine.interrupts import quiet_logger
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView
from dagcelery.engine.worker_loop import Engine
from dagcelery.errors import InvalidSetting, NotConfigured, StoreUnavailable
from dagcelery.payload.signing import Keyring
from dagcelery.planner.plan import Plan
from dagcelery.settings import Settings
from dagcelery.store.fleet import live_slots
from dagcelery.store.protocol import Store
from dagcelery.store.records import ReadyStep
from dagcelery.store.redis import store_on_redis
from dagcelery.telemetry.metrics import Counters, Counting, flush_all
from dagcelery.text import shown
from dagcelery.worker import sender
from dagcelery.worker.messages import LINK, WORK, Message, check_queues
from dagcelery.worker.process import CeleryProcess
from dagcelery.worker.sender import sending_errors
from dagcelery.worker.server_urls import (
    celerys,
    for_celery,
    for_redis,
    is_cluster,
    is_redis,
    tls_options,
    transport_options,
)
from dagcelery.worker.signals import Announcer, report_run, shape_logs

log = quiet_logger(__name__)

_MARK: Final = "dagcelery_"

_NOT_THEIRS: Final = ("celery", "dagcelery")
"""A spawned child gets the modules of all registered tasks: those of ours and of Celery do not belong to a team."""


def configured(app: Celery) -> dict[str, Any]:
    """Return what ``app.conf.dagcelery_*`` says, by names without that prefix; unknown names too."""
    conf: Any = app.conf
    _ = conf.broker_url  # a configuration is read when it is first asked for something, its namespace too
    prefix = str(conf.prefix or "")
    names = {str(key).removeprefix(prefix).lower() for key in conf if _MARK in str(key).lower()}
    marked = {name.removeprefix(_MARK): conf.get(name) for name in sorted(names) if name.startswith(_MARK)}
    return {name: value for name, value in marked.items() if value is not None}


class Modules(Collection[str]):
    """The modules, and packages, that unsigned data may name: those of DAGCELERY_IMPORTS, then those in which Celery
    looks for the app's tasks: its `imports` and `include`, what it discovers, and the app's own, if it is named so.

    It is a list that grows late, and only as far as it is asked: an app discovers its tasks when its worker starts,
    and another process may have no need for them. The road not taken are the modules of all registered tasks: libraries
    share theirs with every app of the process.
    """

    def __init__(self, app: Celery, imports: Sequence[str]) -> None:
        self._app = app
        self._imports = imports
        self._discovering = threading.RLock()  # what is imported may ask as well
        self._is_discovered = False

    def __iter__(self) -> Iterator[str]:
        yield from self._imports
        yield from self._named()
        if self._discover():
            yield from self._named()

    def __contains__(self, module: object) -> bool:
        return any(module == known for known in self)

    def __len__(self) -> int:
        return len(set(self))

    def _named(self) -> Iterator[str]:
        names = list(getattr(self._app.loader, "task_modules", ()))
        # A worker adds the modules of all registered tasks to `include`, also those of libraries.
        if not self._is_in_worker:
            conf = self._app.conf
            names += [*maybe_list(conf.imports or ()), *maybe_list(conf.include or ())]
        names += [self._app.main] if _is_one(self._app.main) else []
        yield from (name for name in map(str, names) if name.partition(".")[0] not in _NOT_THEIRS)

    @property
    def _is_in_worker(self) -> bool:
        return bool(getattr(self._app.loader, "worker_initialized", False))

    def _discover(self) -> bool:
        """Let the app find its tasks, as its worker does when it starts; returns whether this was the first time."""
        with self._discovering:
            if self._is_discovered or self._is_in_worker:
                return False
            self._is_discovered = True
            try:
                self._app.loader.import_default_modules()
            except Exception as error:  # their bodies raise what they like
                message = "the tasks of the app '%s' could not all be imported here: %s: %s"
                log.warning(message, self._app.main, type(error).__name__, error, extra={"action": "not_discovered"})
            return True


def _is_one(module: str | None) -> bool:
    """Return whether a name is that of a loaded module, and not of a package, whose other modules it would allow."""
    return module in sys.modules and not hasattr(sys.modules[module], "__path__")


WORKER_ID = "DAGCELERY_WORKER_ID"
"""Environment variable by which a worker's children know their worker, forked or spawned."""

OUR_APP = "dagcelery"

COMMAND: Final = "dagcelery_versions"
"""What workers answer through Celery's remote control."""

_LATER = 6
"""On Redis 0 is the highest priority, and what a message has that says nothing."""

_HEARD_SECONDS = 2.0
"""How long what workers announce of themselves is remembered."""


class AppContext:
    """The settings of one app, its store and sender, and in each process one access to runs."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.keyring = Keyring.parse(settings.signing_key)
        self.imports = Modules(app, settings.imports)
        self.sender = CelerySender(self)
        self.open_store: Callable[[str, str], Store] = store_on_redis
        self._store: Store | None = None
        self._control: RunControl | None = None
        self._engine: Engine | None = None
        self._counts: Counters | None = None
        self._pid = 0
        # dagcelery's own app, which is not configured yet, takes its settings from the environment alone.
        self._said = configured(app) if cast(Any, app).configured else None

    @property
    def later_priority(self) -> int | None:
        """The priority of new runs, and of what is handed on so that runs take turns; what runs that are under way
        have just made ready outranks it. None on a team's app, where other tasks would outrank it too, and on brokers
        whose queues would have to be declared for it. Workers announce whether they hand on with it.
        """
        is_ours = self.app.main == OUR_APP and is_redis(self.app.conf.broker_url)
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
            self._store = self.open_store(for_redis(self.settings.store_url), self.settings.key_prefix)
        return self._store

    @property
    def control(self) -> RunControl:
        """What submits, watches and ends runs in this process, whether it is a worker's or not."""
        self._after_fork()
        if self._control is None:
            self._check_conf()
            arguments = (self.store, self.keyring, self.settings, self.sender)
            self._control = RunControl(*arguments, on_end=self._tell_end, imports=self.imports)
        return self._control

    def _tell_end(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        report_run(run_id, dag, state, seconds)
        if self.settings.metrics == "on":
            self._counters.count_run(dag, state, seconds)

    @property
    def engine(self) -> Engine:
        """The engine of this worker's process."""
        self._after_fork()
        if self._engine is None:
            self._check_conf()
            worker_id = os.environ.get(WORKER_ID, f"client-{os.getpid()}")
            if WORKER_ID in os.environ:  # of a child by now: its own signal comes before a team has set up its handlers
                shape_logs(is_ours=shapes_log_of(self.app))
            self._engine = Engine(
                self.store,
                self.keyring,
                self.settings,
                self.sender,
                process=CeleryProcess(),
                worker_id=worker_id,
                listener=self._listener(),
                imports=self.imports,
            )
        return self._engine

    def _listener(self) -> Listener:
        listeners: list[Listener] = [Announcer(self.app)]
        if self.settings.metrics == "on":
            listeners.insert(0, Counting(self._counters))
        if self.settings.trace != "off":
            from dagcelery.telemetry.tracing import Tracing  # raises NotConfigured if OpenTelemetry is not installed

            listeners.insert(0, Tracing(self.store.reader.record))
        return Listeners(*listeners) if len(listeners) > 1 else listeners[0]

    def _check_conf(self) -> None:
        """Refuse settings that were made too late, and would be ignored silently."""
        if self._said is None or (now := configured(self.app)) == self._said:
            return
        late = next(name for name in {**now, **self._said} if now.get(name) != self._said.get(name))
        raise NotConfigured(
            f"app.conf.dagcelery_{late} of the app '{self.app.main}' was set after attach(app)",
            "set it before, since dagcelery reads its settings there",
        )

    @property
    def _counters(self) -> Counters:
        if self._counts is None:
            self._counts = Counters(self.store.fleet)
        return self._counts

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            self._pid, self._store, self._control, self._engine = os.getpid(), None, None, None
            self._counts = None


P = ParamSpec("P")


def _as_our_app(send: Callable[Concatenate[CelerySender, P], None]) -> Callable[Concatenate[CelerySender, P], None]:
    """Send with our app as this thread's current one, in a copy of the context: OpenTelemetry's instrumentor begins a
    span before a message is sent, and ends it behind that only if it finds the message's task in the current app.
    """

    @wraps(send)
    def sending(self: CelerySender, /, *args: P.args, **kwargs: P.kwargs) -> None:
        before, tls.current_app = tls.current_app, self._app_context.app
        try:
            copy_context().run(send, self, *args, **kwargs)
        finally:
            tls.current_app = before

    return sending


class CelerySender:
    """A `Sender` over Celery."""

    def __init__(self, app_context: AppContext) -> None:
        self._app_context = app_context
        self._heard: tuple[float, Mapping[str, int], Collection[str]] = (0.0, {}, ())

    def check(self, plan: Plan) -> None:
        """Look whether the app may send to each queue."""
        check_queues(self._app_context.app, plan)

    @_as_our_app
    def start(self, view: RunView, opened: Sequence[ReadyStep], *, is_new: bool = False) -> None:
        """Send the canvas that these steps become."""
        priority = self._later if is_new else None
        canvas = sender.Canvas(self._app_context.app, view.run_id, view.program.home, self.slots, priority)
        with sending_errors(self._app_context.app):
            if queue := canvas.lone(opened):
                self._send_one(view.run_id, queue, priority=priority and priority(queue))
            else:
                for signature in canvas.build(opened):
                    _let_go(signature.apply_async())

    def _send_one(self, run_id: str, queue: str, **options: Any) -> None:
        """Send one plain message as its signature would, which would take a third more time."""
        work: Any = self._app_context.app.tasks[WORK]
        work.apply_async(kwargs={"run": run_id, "queue": queue}, queue=queue, **options).backend = None

    @_as_our_app
    def wake_up(self, run_id: str, queue: str, count: int, delay_seconds: float = 0.0) -> None:
        """Send plain messages."""
        with sending_errors(self._app_context.app):
            for _ in range(count):
                self._send_one(run_id, queue, priority=self._later(queue), countdown=delay_seconds or None)

    def revoke(self, messages: Sequence[str], *, terminate: bool) -> None:
        """Workers that are offline miss it; the store refuses what they would claim."""
        if messages:
            with sending_errors(self._app_context.app):
                self._app_context.app.control.revoke(list(messages), terminate=terminate)

    def slots(self, queue: str) -> int:
        """Return how many processes of live workers consume a queue, or 1 if no worker is known to."""
        return max(1, self._workers()[0].get(queue, 0))

    def _later(self, queue: str) -> int | None:
        """Return `later_priority`, but None where a worker of the queue hands on without it: its wake-ups, which are as
        many as its runs, would outrank ours for ever.
        """
        priority = self._app_context.later_priority
        return None if priority is None or queue in self._workers()[1] else priority

    def _workers(self) -> tuple[Mapping[str, int], Collection[str]]:
        """Return the processes of live workers by queue, and the queues of workers that hand on without a priority."""
        heard_at, slots, hasty = self._heard
        if time.monotonic() - heard_at > _HEARD_SECONDS or not heard_at:
            slots, hasty = live_slots(self._app_context.store.fleet, self._app_context.settings.dead_seconds)
            self._heard = (time.monotonic(), slots, hasty)
        return slots, hasty


def _let_go(result: Any) -> None:
    """Stop Celery from waiting for the results of our messages, which are never read: the store knows them.

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


_contexts: dict[int, AppContext] = {}


def app_context_of(app: Celery) -> AppContext:
    """Return the context of an app."""
    return _contexts[id(app)]


def find_app_context(app: Celery) -> AppContext | None:
    """Return the context of an app, or None: workers of other apps run in the same process, in tests."""
    return _contexts.get(id(app))


def create_app_context(app: Celery, settings: Settings) -> AppContext:
    """Make the context of an app."""
    _contexts[id(app)] = AppContext(app, settings)
    return _contexts[id(app)]


def shapes_log_of(app: Celery) -> bool:
    """Return whether the log is dagcelery's to shape: that of a team's app is the team's."""
    return bool(app.main == OUR_APP)


@signals.worker_process_shutdown.connect(weak=False)
def _end_child(**_: Any) -> None:
    """Send what a child of a pool has counted: it ends without what Python does at exit."""
    flush_all()


def search_here() -> None:
    """Look for modules in the working directory, as `python -m` does and installed scripts do not."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


BEAT = "dagcelery.worker.beat:Beat"
"""By name: it stands above the client, and is imported by beat alone."""


def register(app: Celery, settings: Settings) -> AppContext:
    """Put our tasks on an app. It changes no transport option, queue argument or global setting of the app."""
    app_context = create_app_context(app, settings)
    app.steps["worker"].add("dagcelery.worker.heartbeat:Prepared")  # by name: clients need not import it
    cast(Any, app).Beat = lambda **options: symbol_by_name(BEAT)(app=app, **options)  # `celery beat` calls it
    options: dict[str, Any] = {
        "base": Message,
        "bind": True,
        "shared": False,  # else Celery puts them, bound to this app, on every other app of the process too
    }

    @app.task(name=WORK, **options)
    def work(self: Any, run: str, queue: str, focus: str = "") -> None:
        """Work on a run until nothing is ready on the queue, or the message's time is over."""
        _quietly(run, lambda: app_context.engine.work(run, queue, focus, self.request.id or ""))

    @app.task(name=LINK, **options)
    def link(self: Any, run: str, queue: str, steps: list[str], then: str) -> None:
        """Do one link of a chain."""
        _quietly(run, lambda: app_context.engine.work_link(run, queue, steps, then, self.request.id or ""))

    return app_context


def settings_of(app: Celery, *, store_url: str | None, signing_key: str | None) -> Settings:
    """Return settings of a team's app: arguments, then DAGCELERY_*, then ``app.conf.dagcelery_*``, then its own."""
    if not isinstance(app, Celery):
        raise InvalidSetting("app", f"is {shown(app)}, which is not a Celery app", "give attach(...) your app")
    conf = app.conf
    configuration = configured(app)
    if isinstance(configuration.get("store_url"), str):
        configuration["store_url"] = for_redis(configuration["store_url"])
    settings = Settings.from_environment(
        configured=configuration, store_url=store_url or None, signing_key=signing_key or None
    )
    if settings.trace != "off":
        import dagcelery.telemetry.tracing  # noqa: F401  # raises NotConfigured if OpenTelemetry is not installed
    derived: dict[str, Any] = {"broker_url": conf.broker_url or settings.broker_url}
    if not settings.store_url:
        backend = conf.result_backend, conf.redis_backend_use_ssl, conf.result_backend_transport_options
        broker = conf.broker_url, conf.broker_use_ssl, conf.broker_transport_options
        redis_url = derived["store_url"] = celerys(*backend) or celerys(*broker)
        if not redis_url and not conf.task_always_eager:
            raise NotConfigured(
                f"the app '{app.main}' has no Redis that dagcelery could keep results in",
                "attach(app, store_url='redis://...') or set DAGCELERY_STORE_URL",
            )
    return replace(settings, **derived)


def _quietly(run: str, work: Callable[[], None]) -> None:
    """Do a message's work without raising, which would keep a chord's body back. The store knows what is left to do."""
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
_DEFAULTS: dict[str, Any] = {
    "broker_connection_retry_on_startup": True,
    "broker_channel_error_retry": True,  # as long as the broker, on a server of Redis, is full
    "worker_prefetch_multiplier": 1,
    "result_expires": 3600,
}


class OwnApp(Celery):
    """dagcelery's own Celery app: our defaults, then a celeryconfig that ``--config`` names, then DAGCELERY_*."""

    beside: Mapping[str, dict[str, Any]] = MappingProxyType({})
    """What Celery is told beside addresses, by the names of its settings: about Sentinels, and how keys begin."""

    def on_configure(self) -> None:  # type: ignore[override]  # Celery documents it as a hook
        """Take the celeryconfig late: ``celery -A dagcelery --config module`` names it after the app was found."""
        module = os.environ.get("CELERY_CONFIG_MODULE")
        config = vars(import_from_cwd(module)) if module else {}
        chosen = {name: value for name, value in config.items() if name.islower() and not name.startswith("_")}
        for name, options in self.beside.items():
            if not options:
                continue
            chosen[name] = options | dict(chosen.get(name) or {})
        self.config_from_object(_DEFAULTS | chosen)

    def __reduce__(self) -> tuple[Any, ...]:
        """A child that is spawned, and not forked, imports the app: Celery would make it one without our tasks."""
        return symbol_by_name, ("dagcelery.worker.own:app",)


def make_app(settings: Settings) -> Celery:
    """Return the app that ``celery -A dagcelery worker`` uses, made from settings."""
    broker, backend = settings.broker_url, settings.store_url
    if is_cluster(backend):  # Celery has no results there; on a Redis it can count the members of chords
        backend = broker if is_redis(broker) else ""
    changes = {"task_default_queue": settings.queue} if settings.queue else None
    addresses: dict[str, Any] = {"broker": for_celery(broker) or None, "backend": for_celery(backend) or None}
    app = OwnApp("dagcelery", set_as_current=False, changes=changes, **addresses)
    prefix = {"global_keyprefix": settings.key_prefix} if settings.key_prefix else {}
    app.beside = {
        "broker_transport_options": transport_options(broker) | (prefix if is_redis(broker) else {}),
        "broker_use_ssl": tls_options(broker),
        "result_backend_transport_options": transport_options(backend) | (prefix if is_redis(backend) else {}),
        "redis_backend_use_ssl": tls_options(backend),
    }
    logging.getLogger("dagcelery").setLevel(settings.log_level)
    register(app, settings)
    return app
