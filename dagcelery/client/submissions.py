"""A plan and its parameters become a run that can be remembered."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Final

from dagcelery.errors import InvalidParameters, SerializationError
from dagcelery.objects import portable_identity
from dagcelery.payload import addresses, values
from dagcelery.planner.plan import Plan
from dagcelery.planner.topology import topology
from dagcelery.runtime import parameters
from dagcelery.runtime.engine import Engine
from dagcelery.runtime.reading import RunView
from dagcelery.settings import Settings
from dagcelery.store.records import NewRun

_NOTHING: Final[Mapping[str, object]] = {}
_PICKLING: Final = frozenset({"pickle", "dill"})
"""Codecs that write one value as other bytes in another process, sets for one."""


def new_run(
    engine: Engine,
    plan: Plan,
    params: Mapping[str, object],
    settings: Settings,
    *,
    run_id: str | None = None,
    deadline: float | None = None,
    key: str | None = None,
    static: Mapping[str, object] = _NOTHING,
) -> NewRun:
    """A run of a plan with its parameters, all sealed; nothing is written yet. `static` values shaped the plan."""
    text = plan.encode(signed=engine.keyring.signed)
    run_id = run_id or uuid.uuid4().hex
    view = engine.adopt(run_id, plan)
    if key is not None:
        params = parameters.settled(view, params)
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
        fingerprint="" if key is None else fingerprint(view, params, static),
    )


def fingerprint(view: RunView, params: Mapping[str, object], static: Mapping[str, object]) -> str:
    """Return a digest by which parameters are recognised when a key is used again.

    It is made of what travels of them, and of the static values that shaped the DAG.
    """
    codecs = {param.name: param.codec for param in view.program.body(0).params}
    parts = {name: _distinguished(view, codecs[name], value) for name, value in params.items()}
    parts |= {name: _recognised(name, value) for name, value in static.items()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _recognised(name: str, value: object) -> str:
    identity = portable_identity(value, _name)
    if identity is None:  # two such values would be one
        wrong = "cannot be recognised when the key is used again, since it cannot be pickled"
        raise InvalidParameters(f"static parameter {name!r}", wrong, "give a value that can be, or leave key= out")
    return identity


def _distinguished(view: RunView, number: int, value: object) -> object:
    """Return JSON that differs if other bytes would travel; those of pickle differ from process to process anyway."""
    kind = view.program.codec_spec(number)["k"]
    identity = portable_identity(value, _name) if kind in _PICKLING else None
    if identity is not None:
        return identity
    try:
        data = view.program.codec(number).dump(value)
    except SerializationError:  # its elements travel one by one, or it is not read at all
        return portable_identity(value, _name)
    return json.loads(data) if kind == "json" else hashlib.sha256(data).hexdigest()


def _name(obj: object) -> str:
    """Return the name of a class, a function or a module, which is the same in every process."""
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", "")
    return f"{getattr(obj, '__module__', '')}:{name}"
