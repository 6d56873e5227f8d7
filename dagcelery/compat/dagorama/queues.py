"""Where dagorama's functions wait: each on a queue of its own, and workers consume all of these that they know.

A function that names a queue waits there; one with a taint alone on the queue of the taint, with others of that taint.
Workers know the queues of this program's decorators, and those that any program announced in the store when it called
a definition.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from typing import Any, Final

from dagcelery.client import default_client
from dagcelery.errors import InvalidParameters
from dagcelery.local.cluster import tolerated_queues
from dagcelery.model.options import words
from dagcelery.store.protocol import Store

__all__ = ["PLACES", "Place", "announce", "known", "place_of", "served"]


@dataclass(frozen=True)
class Place:
    """A queue: what `include_queues` and `exclude_queues` call it, the taint that keeps workers away, Celery's name."""

    name: str
    taint: str
    queue: str


PLACES: Final[dict[Place, None]] = {}
"""Those of this program's decorators."""


def function_to_name(func: Callable[..., Any]) -> str:
    """Return ``module:qualname``, with the name by which other programs import what ``python -m module`` runs."""
    spec = getattr(sys.modules.get(func.__module__), "__spec__", None)
    return f"{spec.name if spec is not None else func.__module__}:{func.__qualname__}"


def place_of(func: Callable[..., Any], queue_name: str | None, taint_name: str | None) -> Place:
    """Return where calls of a function wait, from now on a place that workers of this program know."""
    name, taint = queue_name or function_to_name(func), taint_name or ""
    queue = (f"{queue_name}+{taint}" if queue_name else taint) if taint else name
    PLACES[place := Place(name, taint, queue)] = None
    return place


def announce(places: Iterable[Place], store: Store | None = None) -> None:
    """Let workers of other programs know these places; by default in the store of the client."""
    context = default_client().app_context if store is None else None
    if context is not None and (not context.settings.store_url or context.app.conf.task_always_eager):
        return
    where = store or default_client().store
    where.fleet.announce([json.dumps(astuple(place)) for place in places])


def known() -> list[Place]:
    """Return the places that this program, or the store, knows."""
    announced = [Place(*map(str, json.loads(each))) for each in default_client().store.fleet.announced()]
    return list(dict.fromkeys([*PLACES, *announced]))


def served(include: Iterable[str], exclude: Iterable[str], tolerations: Iterable[str]) -> list[str]:
    """Return the queues of a worker: all that are known, or those that are included, if it may consume them.

    A place with a taint needs a toleration.

    Raises InvalidParameters.
    """
    wanted, left_out = words("include_queues", include), words("exclude_queues", exclude)
    tolerated, places = words("queue_tolerations", tolerations), known()
    open_to_it = [place for place in places if not place.taint or place.taint in tolerated]
    if wanted:
        names = {place.name for place in places}
        queues = [place.queue for place in open_to_it if place.name in wanted]
        queues += [name for name in wanted if name not in names]
    else:
        queues = [place.queue for place in open_to_it if place.name not in left_out]
        client = default_client()
        default = client.settings.queue or str(client.app_context.app.conf.task_default_queue)
        queues = [default, *queues, *tolerated_queues(tolerated)[1:]]
    chosen = [queue for queue in dict.fromkeys(queues) if queue not in left_out]
    for place in open_to_it:
        if place.name in left_out and place.queue in chosen:
            remedy = f"give it a queue_name, exclude {place.queue!r}, or do not tolerate it"
            problem = f"waits with others on the queue of its taint {place.taint!r}"
            raise InvalidParameters(f"exclude_queues={place.name!r}", problem, remedy)
    if not chosen:
        raise InvalidParameters("the worker", "has no queue left to consume", "exclude fewer")
    return chosen
