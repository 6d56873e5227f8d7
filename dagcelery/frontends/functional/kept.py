"""DAGs that were read from functions are kept, each for as long as all that it was read from is the same."""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextvars import ContextVar
from typing import Final, TypeAlias, cast

from dagcelery.frontends.functional.snapshot import CannotTell, Snapshot
from dagcelery.model.graph import DAG
from dagcelery.objects import ATOMS, identity

Dags: TypeAlias = dict[Hashable, tuple[Snapshot, DAG]]

_MOST: Final = 64
"""DAGs of one function, such as for values of its static parameters; one that is asked for later is read again."""

# What was read of nested DAGs while the outermost one is read; None stands for what is another one each time.
_READ: ContextVar[dict[Hashable, tuple[object, DAG | None]] | None] = ContextVar("dagcelery_read", default=None)


def kept(dags: Dags, key: Hashable | None, values: Iterable[object], make: Callable[[], DAG]) -> DAG | None:
    """Return the DAG that `make` made of `values` and the key, or makes of them now; None if that cannot be told."""
    known = dags.get(key)
    if known is not None and known[0].holds():
        return known[1]
    dags.pop(key, None)
    if key is None:
        return None
    try:
        before = Snapshot(values)
    except (CannotTell, RecursionError):  # values that are nested more deeply are refused where they are read
        return None
    dag = make()
    if before.holds():  # else what it reads was changed meanwhile, perhaps by itself
        while len(dags) >= _MOST:
            dags.pop(next(iter(list(dags))), None)  # other threads keep DAGs, too
        dags[key] = before, dag
    return dag


def read_anew(identity: Hashable, holder: object, make: Callable[[], DAG]) -> DAG:
    """Return what `make` reads now; within the body of another DAG once, unless it gives another DAG the second time.

    Outer bodies are run several times, so that reading inner ones in each run would cost ever more from depth to depth.
    The ids in `identity` are of what `holder` holds.
    """
    found = _READ.get()
    if found is None:
        token = _READ.set({})
        try:
            return make()
        finally:
            _READ.reset(token)
    if identity not in found:
        dag = make()
        found[identity] = holder, dag if dag == make() else None
        return dag
    return found[identity][1] or make()


def key_of(values: Mapping[str, object]) -> Hashable | None:
    """Return what tells values from all others, if nothing can change them.

    None for a list, which a body may change, so that it runs each time; and for objects, whose classes may change.
    """
    return identity(sorted(values.items())) if all(map(_is_constant, values.values())) else None


def _is_constant(value: object) -> bool:
    if type(value) in (tuple, frozenset):
        return all(map(_is_constant, cast(Iterable[object], value)))
    return type(value) in ATOMS or isinstance(value, enum.Enum)
