"""A run's parameters are checked against its plan and sealed before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dagcelery import objects
from dagcelery.errors import InvalidParameters
from dagcelery.payload.values import Limits
from dagcelery.planner.plan import Body, Param
from dagcelery.runtime.reading import Reader, RunView
from dagcelery.runtime.writing import Sealed, Writer, as_taken
from dagcelery.store.records import ROOT, Scope
from dagcelery.text import nearest, shown, word


def check(name: str, body: Body, given: Mapping[str, object]) -> None:
    """Raise InvalidParameters unless `given` names what the DAG takes. Values are not compared with annotations."""
    known = [param.name for param in body.params]
    if not isinstance(given, Mapping):
        raise InvalidParameters(f"parameters of '{name}'", f"are {shown(given)}, not a mapping", "give a dict by name")
    for unknown in given:
        if unknown not in known:
            right = nearest(unknown, known) or _takes(known)
            raise InvalidParameters(f"parameter '{word(unknown)}' of '{name}'", "there is no such parameter", right)
    missing = [param.name for param in body.params if param.required and param.name not in given]
    if missing:
        raise InvalidParameters(
            f"parameters of '{name}'",
            f"missing {missing}; expected {known}, got {shown(list(given))}",
            "give every parameter that has no default",
        )


def settled(view: RunView, given: Mapping[str, object]) -> Mapping[str, object]:
    """Return parameters that can be read more than once: what can be read only once becomes a list, as it travels."""
    body = view.program.plan.bodies[0]
    check(view.program.plan.name, body, given)
    known = {param.name: param for param in body.params}

    def one(param: Param, value: object) -> object:
        if isinstance(value, Iterator) and param.split:
            return objects.listed(value)
        return as_taken(view.program.codec(param.codec), value)

    return {name: one(known[name], value) for name, value in given.items()}


def seal(view: RunView, given: Mapping[str, object], limits: Limits) -> Sealed:
    """Check and seal parameters in the forms that their readers need; a parameter not given takes its default."""
    plan = view.program.plan
    body = plan.bodies[0]
    check(plan.name, body, given)
    sealed, writer, reader = Sealed(), Writer(view, ROOT, 0, limits), Reader(view, Scope(ROOT))
    for param in body.params:
        if not (param.whole or param.split):
            continue
        default = param.default
        value = given[param.name] if param.name in given or default is None else reader.evaluate(default)
        culprit, codec = f"parameter '{param.name}'", view.program.codec(param.codec)
        if param.split and param.whole and isinstance(value, Iterator):
            value = objects.listed(value)  # it can be read once
        if param.whole:
            writer.taken(sealed, f"${param.name}", codec, value, culprit)
        if param.split:
            writer.split(sealed, f"${param.name}", codec, value, culprit)
    return sealed


def _takes(known: list[str]) -> str:
    return f"it takes {known}" if known else "it takes no parameters"
