"""Names of stored values for people: node, item and output, or parameter, with the storage address in parentheses."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from dagcelery.errors import BadSignature, DagceleryError, DeserializationError, ValueFreed
from dagcelery.planner.topology import topology
from dagcelery.store.records import ROOT

if TYPE_CHECKING:
    from dagcelery.runtime.reading import RunView

E = TypeVar("E", bound=BadSignature | DeserializationError)


def named(view: RunView, scope: str, token: str, lo: int = -1, hi: int = -1) -> str:
    """Name what a token right in a scope stands for, or its elements ``[lo, hi)``."""
    place = view.scope(scope)
    at = "" if lo < 0 else f"[{lo}]" if hi - lo == 1 else f"[{lo}:{hi}]"
    if token.startswith("$"):
        around = view.path(place).removesuffix("/")
        owner = f" of node '{around}'" if around else ""
        return f"parameter '{token[1:]}'{at}{owner}"
    step, output = map(int, token.split("."))
    found = view.program.step(place.body, step)
    address, name = view.address(place, step), found.outputs[output].name
    if found.over is not None:  # its items are pieces, which have addresses of their own
        return f"output '{name}' of node '{address}{at}'"
    return f"output '{name}'{at} of node '{address}'"


def located(view: RunView, error: E, scope: str, token: str, lo: int = -1, hi: int = -1) -> E:
    """Return the error of a stored value, with the name that people know it by in front of where it is stored.

    It is made only for an error: the names are of no use as long as values can be read.
    """
    try:
        place_name = f"{named(view, scope, token, lo, hi)} of run {view.run_id}"
    except (DagceleryError, LookupError, ValueError):
        return error  # a place that is not even in the plan
    if isinstance(error, BadSignature):
        return type(error)(f"{place_name} ({error.address})", error.reason)
    return type(error)(f"{place_name} ({error.culprit})", error.reason, error.remedy)


def missing(view: RunView, scope: str, token: str, lo: int = -1, hi: int = -1) -> DeserializationError:
    """Return the error of a value that is not there, or not any more."""
    culprit = f"value {token} of scope {scope}"
    if _is_freed(view, scope, token):
        wrong = 'it was freed when its last reader had finished, because its DAG says keep="outputs"'
        found: DeserializationError = ValueFreed(culprit, wrong, "return it from the DAG, or keep everything")
    else:
        right = "results live as long as DAGCELERY_TTL_SECONDS says; run the DAG again"
        found = DeserializationError(culprit, "it is not in the store", right)
    return located(view, found, scope, token, lo, hi)


def _is_freed(view: RunView, scope: str, token: str) -> bool:
    if not view.program.frees or scope != ROOT:
        return view.program.frees
    return token[0] != "$" and "rt" not in topology(view.program.plan)[0][token.partition(".")[0]]
