"""Apps of teams whose settings are meant for other tasks than ours, one for each STRICT_KIND and queues for each."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery, Task
from kombu import Exchange, Queue

from dagcelery import attach


class Tenanted(Task):  # type: ignore[type-arg]
    """A base class that lets none of a team's own tasks run without a tenant."""

    rate_limit, autoretry_for = "1/h", (Exception,)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no tenant")

    def before_start(self, *args: Any) -> None:
        raise RuntimeError("no tenant")


def no_route(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **others: Any) -> Any:
    """A router that knows the team's own tasks."""
    if name.startswith("dagcelery"):
        raise KeyError(name)


OPTIONS = json.loads(os.environ["TEAM_OPTIONS"])
KINDS: dict[str, dict[str, Any]] = {
    "guarded": {
        "accept_content": ["msgpack"],
        "task_serializer": "msgpack",
        "result_serializer": "msgpack",
        "task_annotations": {"*": {"time_limit": 1, "soft_time_limit": 0.5, "rate_limit": "1/m"}},
        "task_routes": (no_route,),
        "task_acks_late": False,
        "task_acks_on_failure_or_timeout": False,
        "task_ignore_result": False,
        "task_track_started": True,
        "task_inherit_parent_priority": True,
    },
    "elderly": {
        "task_protocol": 1,
        "task_compression": "gzip",
        "task_default_exchange": "elders",
        "task_default_exchange_type": "topic",
        "task_default_routing_key": "elders.all",
        "task_default_delivery_mode": "transient",
        "task_queues": [
            Queue("elderly", Exchange("elders", type="topic"), routing_key="elders.#"),
            Queue("elderly_gpu", Exchange("gpu"), routing_key="gpu"),
        ],
        "task_create_missing_queues": False,
        "enable_utc": False,
        "timezone": "Asia/Tokyo",
        "broker_transport_options": OPTIONS.get("broker_transport_options", {})
        | {"visibility_timeout": 1, "global_keyprefix": "team:"},
    },
    "quorate": {
        "task_default_queue_type": "quorum",
        "task_create_missing_queue_type": "quorum",
        "task_send_sent_event": True,
        "task_publish_retry": False,
    },
}
KIND = os.environ["STRICT_KIND"]

app = Celery("strict", broker=os.environ["TEAM_BROKER"], backend=os.environ["TEAM_BACKEND"], task_cls=Tenanted)
app.conf.update(task_default_queue=KIND, broker_connection_retry_on_startup=True, include=["strict_tasks"])
app.conf.update(OPTIONS | KINDS[KIND])
client = attach(app)
