"""What users hand in, a decorated function, a DAG, a task, or the name of one, becomes a plan."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final, cast

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.model import DAG, Buildable, Task
from dagcelery.model.buildable import is_buildable, not_buildable
from dagcelery.payload import functions
from dagcelery.planner.build import plan as make_plan
from dagcelery.planner.plan import FunctionSpec, Plan
from dagcelery.settings import Settings

Node = Buildable[..., Any] | DAG | Task | str


def deadline_of(dag: DAG | Task) -> float | None:
    """Seconds that a run of this DAG may take, or None."""
    return dag.options.deadline if isinstance(dag, DAG) else None


def fixed(node: Node, params: Mapping[str, object]) -> tuple[Node, Mapping[str, object]]:
    """Tell static parameters, which say what the DAG is, from those of the run."""
    node = _found(node) if isinstance(node, str) else node
    if isinstance(node, type) or not isinstance(params, Mapping):
        return node, params  # which is refused where it is looked at
    names = getattr(node, "static", ())
    static = {name: params[name] for name in names if name in params}
    if not static:
        return node, params
    dag: DAG = node.__dag__(**static)  # type: ignore[union-attr]
    return dag, {name: value for name, value in params.items() if name not in static}


def static_of(node: Node, params: Mapping[str, object]) -> dict[str, object]:
    """Return the values of static parameters that were given, beside others or before."""
    node = _found(node) if isinstance(node, str) else node
    names = getattr(node, "static", ()) if isinstance(params, Mapping) else ()
    return {**getattr(node, "static_values", {}), **{name: params[name] for name in names if name in params}}


def dag_of(node: Node) -> DAG | Task:
    """The model behind what users hand in: a decorated function, a DAG, a Task, or ``"module:name"``."""
    if isinstance(node, str):
        return dag_of(_found(node))
    if isinstance(node, DAG | Task):
        return node
    if is_buildable(node):
        return node.__dag__()
    raise not_buildable(
        node,
        "it is neither a DAG nor a task",
        "decorate the function with @dag or @task, or build a DAG(...)",
    )


def _found(text: str) -> Node:
    """Import what ``"module:name"`` says."""
    module, _, name = text.partition(":")
    if not module.strip(".") or not name:
        raise InvalidDagType(f"'{text}'", "it does not say where the DAG is", "write 'package.module:name'")
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # a module's body raises what it likes
        wrong = f"it cannot be imported here: {type(error).__name__}: {error}"
        raise InvalidDag(f"'{text}'", wrong, "write 'package.module:name' of a DAG on Python's path") from error
    return cast(Node, found)


def plan_of(node: Node, *, queue: str = "celery", settings: Settings | None = None) -> Plan:
    """The plan of a DAG; made once for each DAG object, as long as workers find its functions as it says."""
    dag, chosen = dag_of(node), settings or Settings()
    terms = (queue, chosen.serializer, chosen.max_nodes)
    known = _plans.get(id(dag))
    if known is None or known[0] is not dag or known[1] != terms or not all(map(_is_so, known[2].functions)):
        made = make_plan(dag, serializer={"k": chosen.serializer}, queue=queue, max_nodes=chosen.max_nodes)
        while len(_plans) >= _KEPT_PLANS:
            _plans.pop(next(iter(list(_plans))), None)  # other threads may have dropped it
        known = _plans[id(dag)] = (dag, terms, made)
    return known[2]


def _is_so(spec: FunctionSpec) -> bool:
    """Whether a function is still found as a plan says: its code may be another, and so may be what has its name."""
    if spec.live is None:
        return True
    now = functions.describe(spec.live, by_value=spec.by_value)
    return (now["module"], now["qualname"]) == (spec.module, spec.qualname) and spec.hash in ("", now["hash"])


_KEPT_PLANS: Final = 128
_plans: dict[int, tuple[DAG | Task, tuple[str, str, int], Plan]] = {}
