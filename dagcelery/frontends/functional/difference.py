"""Two calls are compared by what they mean; the first difference is told in words, or there is none."""

from __future__ import annotations

from dataclasses import replace

from dagcelery.frontends.functional.calls import Call, CalledTask, Callee
from dagcelery.frontends.functional.refs import Run, Spliced, within
from dagcelery.model.sources import DictOf, Literal, Source
from dagcelery.objects import same
from dagcelery.text import shown


def between_calls(one: Call, other: Call) -> str | None:
    """Return how two calls differ, apart from the elements that they are made for."""
    if one.callee.name != other.callee.name:
        return f"calls {one.callee.name!r} instead of {other.callee.name!r}"
    if not is_same_callee(one.callee, other.callee):
        return f"calls {one.callee.name!r} with other options"
    if one.arguments.keys() != other.arguments.keys():
        return f"calls {one.callee.name!r} with other arguments"
    for name, source in one.arguments.items():
        found = between(source, other.arguments[name])
        if found:
            return f"gives {name!r} of {one.callee.name!r} {found}"
    return f"lets {one.callee.name!r} come after other nodes" if between(one.after, other.after) else None


def between(one: Source, other: Source) -> str | None:
    """Return how two sources differ."""
    if type(one) is not type(other):
        return f"{_source_text(one)} instead of {_source_text(other)}"
    if isinstance(one, Literal) and isinstance(other, Literal):
        return None if same(one.value, other.value) else f"{shown(one.value)} instead of {shown(other.value)}"
    inner, others = list(within(one)), list(within(other))
    if len(inner) != len(others) or not same(_keys(one), _keys(other)):
        return "another number of values"
    if not inner:
        return None if one == other else "the value of another node or element"
    if isinstance(one, Run | Spliced) and isinstance(other, Run | Spliced) and one.over != other.over:
        return "the elements of another list"
    return next((found for found in map(between, inner, others) if found), None)


def is_same_callee(one: Callee, other: Callee) -> bool:
    """Whether two calls are of the same task, or of DAGs that are alike."""
    if isinstance(one, CalledTask) and isinstance(other, CalledTask):
        known = replace(one, func=other.func, options=other.options)
        return known == other and same(one.func, other.func) and same(one.options, other.options)
    return one == other


def _keys(source: Source) -> list[object]:
    return [key for key, _ in source.pairs] if isinstance(source, DictOf) else []


def _source_text(source: Source) -> str:
    return shown(source.value) if isinstance(source, Literal) else "a value made by a node"
