"""Taints and queue names decide on which queue a step waits; workers tolerate taints by consuming queues.

A task's ``queue=`` wins. Else its taints name the queue: sorted and joined with ``+``, so that
``("ssd", "gpu")`` waits on ``gpu+ssd``. A task with neither waits on the default queue.

A worker that tolerates taints may run tasks that have no others: with gpu and ssd it consumes the default
queue, ``gpu``, ``ssd`` and ``gpu+ssd``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from dagcelery.planner.plan import Plan

DEFAULT: Final = "celery"
JOINT: Final = "+"


def queue_for(taints: Collection[str], queue: str | None = None, *, default: str = DEFAULT) -> str:
    """Return the queue of a task with these options."""
    return queue or JOINT.join(sorted(set(taints))) or default


def queues_of(plan: Plan) -> frozenset[str]:
    """Return the queues that workers must consume for `plan` to end."""
    of_steps = {step.queue for body in plan.bodies for step in body.steps}
    return frozenset(of_steps.union(*({body.queue_open, body.queue_close} for body in plan.bodies)))
