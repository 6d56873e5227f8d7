"""The functions that read the parameters of a DAG, in nested ones too: their annotations say what they take."""

from __future__ import annotations

from collections.abc import Mapping

from dagcelery.model import DAG, FromParam, Source
from dagcelery.model.sources import walk
from dagcelery.planner.tables import Reading


def readers_of_parameters(dag: DAG, limit: int) -> dict[str, list[Reading]]:
    """Return the functions that read each parameter, with the names of their own parameters for it.

    No more than `limit` nodes are looked at: a DAG that has more cannot be planned.
    """
    found: dict[str, dict[tuple[int, str], Reading]] = {}
    looked_at = 0
    todo: list[tuple[DAG, Mapping[str, set[str]]]] = [(dag, {name: {name} for name in dag.inputs})]
    while todo and looked_at <= limit:
        inner, known = todo.pop()
        looked_at += len(inner.nodes)
        for node in inner.nodes.values():
            given = {key: _parameters(key, source, known) for key, source in node.inputs.items()}
            if isinstance(node, DAG):
                todo.append((node, given))
                continue
            for key, names in given.items():
                for name in sorted(names):
                    found.setdefault(name, {})[id(node.func), key] = (node.func, key, node.options.by_value)
    return {name: list(readings.values()) for name, readings in found.items()}


def _parameters(key: str, source: Source, known: Mapping[str, set[str]]) -> set[str]:
    """Return the parameters of the outermost DAG that a source reads."""
    read = [part.name or key for part in walk(source) if isinstance(part, FromParam)]
    return {name for one in read for name in known.get(one, ())}
