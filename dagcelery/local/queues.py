"""The queues that a worker names to Celery so that it gets whatever its tolerations allow.

Tasks with several taints wait on a queue of their own (see planner/routing.py), so a worker that tolerates
gpu and ssd consumes the default queue, ``gpu``, ``ssd`` and ``gpu+ssd``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain, combinations
from typing import Final

from dagcelery.errors import InvalidSetting
from dagcelery.planner.routing import DEFAULT, queue_for

# Every further toleration doubles the queues: eight make 256, which a Redis broker asks for in each read.
MOST_TOLERATIONS: Final = 8


def tolerated_queues(tolerations: Iterable[str], default: str = "") -> tuple[str, ...]:
    """Return the default queue and one for each set of tolerated taints, the small sets first."""
    taints = sorted(set(tolerations))
    if len(taints) > MOST_TOLERATIONS:
        raise InvalidSetting(
            "tolerations",
            f"name {len(taints)} taints, which would be {2 ** len(taints)} queues",
            f"tolerate at most {MOST_TOLERATIONS}, or name the queues themselves",
        )
    sets: Iterable[Collection[str]] = chain.from_iterable(combinations(taints, size) for size in range(len(taints) + 1))
    return tuple(queue_for(chosen, default=default or DEFAULT) for chosen in sets)
