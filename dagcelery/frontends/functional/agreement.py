"""A body is a DAG only if it says the same for lists of all lengths, those with one element and none among them."""

from __future__ import annotations

from collections import Counter

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional.calls import Call
from dagcelery.frontends.functional.fold import Folded
from dagcelery.frontends.functional.terms import Table, Terms
from dagcelery.frontends.functional.trace import Trace
from dagcelery.model.sources import Literal, Source
from dagcelery.text import shown


def check_agreement(model: Folded, trace: Trace, returned: Source) -> None:
    """Raise InvalidDag unless `trace` made the very calls that `model` says for lists of its lengths."""
    made = Terms(trace.calls, trace.table)
    actual = list(made.calls())
    lengths = {made.of(source): length for source, length in trace.lengths.items()}
    said = Terms(model.calls, trace.table, lengths)
    try:
        found = _difference(model, list(said.calls()), trace, actual)
        if not found and said.of(model.returns) != made.of(returned):
            found = "returns something else"
            if isinstance(returned, Literal) and isinstance(model.returns, Literal):
                found = f"returns {shown(returned.value)} instead of {shown(model.returns.value)}"
    except KeyError:
        found = "does not iterate all lists"
    if found:
        raise InvalidDag(
            "the DAG",
            f"depends on how many elements a list has: with {trace.probes.told} instead of three the body {found}",
            "make it the same for any number: len, slices, range and if belong in a task that takes the "
            "list, and values that change from one time to the next are parameters",
        )


def _difference(
    model: Folded, expected: list[tuple[int, int]], trace: Trace, actual: list[tuple[int, int]]
) -> str | None:
    left = Counter(term for _, term in expected)
    left.subtract(term for _, term in actual)
    extra = next((trace.calls[number] for number, term in actual if left[term] < 0), None)
    missing = [model.calls[number] for number, term in expected if left[term] > 0]
    if extra is None:
        return f"calls {missing[0].callee.name!r} less often" if missing else None
    alike = next((call for call in missing if call.callee.name == extra.callee.name), None)
    if alike is not None:
        return _argument(extra, alike, trace.table)
    instead = f" instead of {missing[0].callee.name!r}" if missing else " more often"
    return f"calls {extra.callee.name!r}{instead}"


def _argument(call: Call, other: Call, table: Table) -> str:
    for name, given in call.arguments.items():
        if isinstance(given, Literal) and isinstance(other.arguments.get(name), Literal):
            known = other.arguments[name].value  # type: ignore[attr-defined]
            if table.literal(given.value) != table.literal(known):
                return f"gives {name!r} of {call.callee.name!r} {shown(given.value)} instead of {shown(known)}"
    return f"gives {call.callee.name!r} other arguments"
