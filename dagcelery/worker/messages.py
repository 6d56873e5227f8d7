"""Our two Celery tasks, which stay what they are whatever an app says of its own tasks.

A message of ours is a short visit to a run, and in it a worker calls functions of many pieces. A time limit, a rate
limit or a route that a team means for each of its tasks would hold for such visits, and a base class would be called
around them. So these tasks take nothing from the app's configuration but what every message beside them has as well:
the default priority, compression, and the queues as they are declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from celery import Celery
from celery.app.routes import Router
from celery.app.task import Task
from kombu import serialization
from kombu.utils.json import dumps, loads

from dagcelery.engine.interrupts import quiet_logger
from dagcelery.errors import NotSent
from dagcelery.planner.plan import Plan, queues_of

log = quiet_logger(__name__)

WORK: Final = "dagcelery.work"

LINK: Final = "dagcelery.link"


class _Never:
    """An attribute that stays None, also if Celery's remote control sets it."""

    def __init__(self, remedy: str) -> None:
        self._remedy = remedy

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, task: object, owner: type) -> None:
        return None

    def __set__(self, task: Any, value: object) -> None:
        if value:
            about = {"action": "setting_ignored", "setting": self._name}
            log.warning("no %s holds for %s; %s", self._name, task.name, self._remedy, extra=about)


_OF_NODES: Final = "give timeout= to the tasks of your DAGs"

_PACE: Final = "give max_concurrent= to the tasks of your DAGs"


class Message(Task):  # type: ignore[type-arg]
    """The base class of our tasks, instead of the app's own."""

    abstract = True
    from_config = (("priority", "task_default_priority"),)  # and nothing else
    acks_late = True
    reject_on_worker_lost = True
    acks_on_failure_or_timeout = True
    ignore_result = True
    store_errors_even_if_ignored = False
    track_started = False
    max_retries = 0
    typing = False
    rate_limit = _Never(_PACE)
    time_limit = _Never(_OF_NODES)
    soft_time_limit = _Never(_OF_NODES)
    Request = "dagcelery.worker.heartbeat:Reported"

    @classmethod
    def annotate(cls) -> None:
        """Take no annotation, not even one for all tasks."""

    @cached_property
    def _wire(self) -> str:
        return serializer_of(self.app)

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, **options: Any
    ) -> Any:
        """Send a message to the queue that it names, as canvas does and Celery itself for what follows in a chain.

        In eager mode too: a client runs everything in its process then and sends nothing, so this is a worker.
        """
        app = self.app
        if options.get("priority") is None:
            options["priority"] = self.priority  # else that of the message which is worked on may be inherited
        fixed = {"ignore_result": True, "expires": None, "time_limit": None, "soft_time_limit": None}
        if self._wire != "json":  # others, YAML for one, do not know what stands for a message that follows
            follows = {name: options[name] for name in ("chain", "chord", "link") if options.get(name)}
            options |= loads(dumps(follows))
        options |= fixed | {"serializer": self._wire, "router": Router((), app.amqp.queues, app=app)}
        return app.send_task(self.name, args, kwargs, task_type=self, **options)


def serializer_of(app: Celery) -> str:
    """Return the serializer of our messages: JSON, or another one that the app's workers accept."""
    conf: Any = app.conf
    registry: Any = serialization.registry  # type: ignore[attr-defined]
    accepted = serialization.prepare_accept_content(conf.accept_content)
    if accepted is None:
        return "json"
    known = ("json", conf.task_serializer, *(registry.type_to_name.get(each) for each in sorted(accepted)))
    for name in known:
        if registry.name_to_type.get(name) in accepted:
            return str(name)
    raise NotSent(f"accept_content of the app is {conf.accept_content!r}", "let it have 'json'")


def counts_chords(app: Celery) -> bool:
    """Return whether the app's result backend counts the members of chords, and may read what it has counted; others
    poll, or wait for ever.
    """
    backend: Any = app.backend
    is_redis = type(backend).__module__ == "celery.backends.redis"
    return is_redis and (backend.accept is None or backend.content_type in backend.accept)


UNSENT: Final = "name the queue in task_queues of the app, or set task_create_missing_queues"


def can_send_to(app: Celery, queue: str) -> bool:
    """Return whether an app knows a queue, or may make it."""
    return bool(app.conf.task_create_missing_queues) or queue in app.amqp.queues


def check_queues(app: Celery, plan: Plan) -> None:
    """Raise NotSent if a plan has a queue to which the app may not send."""
    if app.conf.task_create_missing_queues:
        return
    for queue in sorted(queues_of(plan)):
        if queue and not can_send_to(app, queue):
            nodes = {step.name for body in plan.bodies for step in body.steps if step.queue == queue}
            problem = (
                f"node '{min(nodes, default=plan.name)}' needs the queue '{queue}', which is missing from task_queues"
            )
            raise NotSent(problem, UNSENT)


Ignored = tuple[str, str]
"""A setting of an app, with its value as text, and what to use for nodes instead."""


def ignored(app: Celery) -> Iterator[Ignored]:
    """Yield the settings of an app that hold for its own tasks, and that somebody may expect to hold for nodes."""
    conf: Any = app.conf
    for name in ("task_time_limit", "task_soft_time_limit"):
        if value := conf.get(name):
            yield f"{name} = {value}", _OF_NODES
    if value := conf.task_default_rate_limit:
        yield f"task_default_rate_limit = {value}", _PACE
    own: Callable[..., Any] = app.Task
    for name in ("__call__", "before_start", "on_success", "on_failure", "on_retry", "after_return"):
        if getattr(own, name, None) is not getattr(Task, name, None):
            yield f"{name} of the base class of its tasks", "use signals, hooks, or a decorator below @task"
    for name in _annotated(app):
        yield f"{name} in task_annotations", "give options to the tasks of your DAGs"


def _annotated(app: Celery) -> list[str]:
    """Return the attributes that the app's annotations give to all tasks, or to ours."""
    names: set[str] = set()
    for annotation in app.annotations:
        if isinstance(annotation, Mapping):
            names |= {name for task in ("*", WORK, LINK) for name in annotation.get(task, ())}
    return sorted(names)
