"""Taints and queue names decide on which queue a step waits; workers tolerate taints by consuming queues.

A task's ``queue=`` wins. Else its taints name the queue: sorted and joined with ``+``, so that
``("ssd", "gpu")`` waits on ``gpu+ssd``. A task with neither waits on the default queue. Where queues have
other names, `queues` maps sets of taints to them: ``{frozenset({"gpu"}): "nvidia"}``.

A worker that tolerates taints may run tasks that have no others: with gpu and ssd it consumes the default
queue, ``gpu``, ``ssd`` and ``gpu+ssd``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeAlias

from dagcelery.planner.plan import Plan

DEFAULT: Final = "celery"
JOINT: Final = "+"

Queues: TypeAlias = Mapping[frozenset[str], str]


def queue_for(
    taints: Collection[str], queue: str | None = None, *, default: str = DEFAULT, queues: Queues | None = None
) -> str:
    """Return the queue of a task with these options."""
    if queue:
        return queue
    if not taints:
        return default
    wanted = frozenset(taints)
    return (queues or {}).get(wanted) or JOINT.join(sorted(wanted))


def queues_of(plan: Plan) -> frozenset[str]:
    """Return the queues that workers must consume for `plan` to end."""
    of_steps = {step.queue for body in plan.bodies for step in body.steps}
    return frozenset(of_steps.union(*({body.queue_open, body.queue_close} for body in plan.bodies)))


def tolerated(
    tolerations: Iterable[str],
    among: Iterable[str],
    *,
    default: str = DEFAULT,
    queues: Queues | None = None,
) -> list[str]:
    """Return the queues `among` these that a worker with these tolerations consumes, in their order."""
    allowed = frozenset(tolerations)
    needs: dict[str, frozenset[str]] = {}
    for taints, name in (queues or {}).items():
        needs[name] = needs.get(name, frozenset()) | taints
    return [name for name in among if name == default or needs.get(name, frozenset(name.split(JOINT))) <= allowed]
