"""py-dagger's names of nodes: dashes instead of underscores, and numbers from one where a function is used again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dagcelery.model import DAG, Choice, DictOf, Each, FromNodeOutput, ListOf, Part, SetOf, Splice, TupleOf


def names_of(dag: DAG) -> dict[str, str]:
    """Return py-dagger's names of nodes: ``my-task`` where there is one, else ``my-task-1``, ``my-task-2``."""
    calls: dict[str, list[str]] = {}
    for name in dag.nodes:
        calls.setdefault(name.partition("-")[0], []).append(name)
    return {
        name: base.replace("_", "-") + (f"-{at}" if len(same) > 1 else "")
        for base, same in calls.items()
        for at, name in enumerate(same, 1)
    }


def renamed(source: Any, names: Mapping[str, str]) -> Any:
    """Return a source that reads the same outputs of nodes by other names."""
    match source:
        case FromNodeOutput():
            return replace(source, node=names[source.node])
        case Each() | Part():
            return replace(source, source=renamed(source.source, names))
        case ListOf() | TupleOf() | SetOf():
            return replace(source, items=tuple([renamed(item, names) for item in source.items]))
        case DictOf():
            return DictOf(tuple([(key, renamed(value, names)) for key, value in source.pairs]))
        case Choice():
            parts = (source.condition, source.then, source.otherwise)
            return Choice(*[renamed(part, names) for part in parts])
        case Splice():
            return Splice(renamed(source.template, names), renamed(source.over, names))
        case _:
            return source
