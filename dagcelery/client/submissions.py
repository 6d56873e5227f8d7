"""A plan and its parameters become a run that can be remembered."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping

from dagcelery.payload import addresses, values
from dagcelery.planner.plan import Plan
from dagcelery.planner.topology import topology
from dagcelery.runtime import parameters
from dagcelery.runtime.engine import Engine
from dagcelery.settings import Settings
from dagcelery.store.base import NewRun


def new_run(
    engine: Engine,
    plan: Plan,
    params: Mapping[str, object],
    settings: Settings,
    *,
    run_id: str | None = None,
    deadline: float | None = None,
    key: str | None = None,
) -> NewRun:
    """A run of a plan with its parameters, all sealed; nothing is written yet."""
    text = plan.encode(signed=engine.keyring.signed)
    run_id = run_id or uuid.uuid4().hex
    view = engine.adopt(run_id, plan)
    given = parameters.seal(view, params, engine.limits)
    return NewRun(
        id=run_id,
        name=plan.name,
        plan=values.seal_bytes(engine.keyring, addresses.plan(run_id), 0, text),
        digest=hashlib.sha256(text).hexdigest(),
        topology=topology(plan),
        values=given.values,
        lists=given.lists,
        blocks=given.blocks,
        ttl_seconds=settings.ttl_seconds,
        deadline_seconds=deadline,
        held="key" if key is not None else "limit" if "max_active_runs" in plan.options else "",
        reservation="" if key is None else json.dumps([plan.name, key]),
        fingerprint="" if key is None else fingerprint(params),
    )


def fingerprint(params: Mapping[str, object]) -> str:
    """What parameters are recognised by when a key is used again; "" for values that JSON cannot say."""
    try:
        text = json.dumps(params, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return ""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
