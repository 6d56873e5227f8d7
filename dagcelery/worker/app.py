"""Celery's side: our two tasks on an app, a team's or our own, and where the modules of users are looked for."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from celery import Celery
from celery.utils.imports import import_from_cwd, symbol_by_name

from dagcelery.engine.interrupts import quiet_logger
from dagcelery.errors import InvalidSetting, NotConfigured, StoreUnavailable
from dagcelery.settings import Settings
from dagcelery.text import shown
from dagcelery.worker import sender
from dagcelery.worker.app_context import (
    AppContext,
    configured,
    create_app_context,
    for_celery,
    for_redis,
    is_redis,
    secured,
)


def search_here() -> None:
    """Look for modules in the working directory, as `python -m` does and installed scripts do not."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


log = quiet_logger(__name__)

BEAT = "dagcelery.worker.beat:Beat"
"""By name: it stands above the client, and is imported by beat alone."""


def register(app: Celery, settings: Settings) -> AppContext:
    """Put our tasks on an app. It changes no transport option, queue argument or global setting of the app."""
    app_context = create_app_context(app, settings)
    app.steps["worker"].add("dagcelery.worker.heartbeat:Prepared")  # by name: clients need not import it
    cast(Any, app).Beat = lambda **options: symbol_by_name(BEAT)(app=app, **options)  # `celery beat` calls it
    options: dict[str, Any] = {
        "acks_late": True,
        "reject_on_worker_lost": True,
        "ignore_result": True,
        "serializer": "json",
        "bind": True,
        "Request": "dagcelery.worker.heartbeat:Reported",
        "max_retries": 0,
        "track_started": False,
        "shared": False,  # else Celery puts them, bound to this app, on every other app of the process too
    }

    @app.task(name=sender.WORK, **options)
    def work(self: Any, run: str, queue: str, focus: str = "") -> None:
        """Work on a run until nothing is ready on the queue, or the message's time is over."""
        _quietly(run, lambda: app_context.engine.work(run, queue, focus, self.request.id or ""))

    @app.task(name=sender.LINK, **options)
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
    derived: dict[str, Any] = {"broker_url": conf.broker_url or settings.broker_url}
    if not settings.store_url:
        backend, broker = (conf.result_backend, conf.redis_backend_use_ssl), (conf.broker_url, conf.broker_use_ssl)
        redis_url = next((secured(url, tls) for url, tls in (backend, broker) if is_redis(url)), "")
        derived["store_url"] = for_redis(redis_url)
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
    "worker_prefetch_multiplier": 1,
    "result_expires": 3600,
}


class OwnApp(Celery):
    """dagcelery's own Celery app: our defaults, then a celeryconfig that ``--config`` names, then DAGCELERY_*."""

    def on_configure(self) -> None:  # type: ignore[override]  # Celery documents it as a hook
        """Take the celeryconfig late: ``celery -A dagcelery --config module`` names it after the app was found."""
        module = os.environ.get("CELERY_CONFIG_MODULE")
        config = vars(import_from_cwd(module)) if module else {}
        chosen = {name: value for name, value in config.items() if name.islower() and not name.startswith("_")}
        self.config_from_object(_DEFAULTS | chosen)

    def __reduce__(self) -> tuple[Any, ...]:
        """A child that is spawned, and not forked, imports the app: Celery would make it one without our tasks."""
        return symbol_by_name, ("dagcelery.worker.own:app",)


def make_app(settings: Settings) -> Celery:
    """Return the app that ``celery -A dagcelery worker`` uses, made from settings."""
    broker, backend = (for_celery(url) or None for url in (settings.broker_url, settings.store_url))
    changes = {"task_default_queue": settings.queue} if settings.queue else None
    app = OwnApp("dagcelery", set_as_current=False, broker=broker, backend=backend, changes=changes)
    logging.getLogger("dagcelery").setLevel(settings.log_level)
    register(app, settings)
    return app
