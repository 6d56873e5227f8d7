"""Errors of workers that programs may catch by the class that a node raised."""

from __future__ import annotations

import builtins
import sys

from dagcelery.errors import NodeFailed

__all__ = ["as_it_was"]


def as_it_was(error: NodeFailed) -> NodeFailed:
    """Return an error that is also one of the class that the node raised, where this process has that class already.

    None is imported because stored data names it.
    """
    raised = _loaded(error.type_name)
    if raised is None:
        return error
    try:
        told = _both(raised)(error.address, error.type_name, error.message, error.traceback)
    except TypeError:  # a class that cannot be mixed, or made without arguments of its own
        return error
    return told.with_traceback(error.__traceback__)


def _loaded(name: str) -> type[Exception] | None:
    """Return the class of an error by its qualified name; None if no loaded module has it."""
    parts = name.split(".")
    for at in range(len(parts)):
        found: object = sys.modules.get(".".join(parts[:at])) if at else builtins
        for part in parts[at:]:
            found = vars(found).get(part) if hasattr(found, "__dict__") else None
        if isinstance(found, type) and issubclass(found, Exception):
            return found
    return None


def _both(raised: type[Exception]) -> type[NodeFailed]:
    names = {"__module__": raised.__module__, "__qualname__": raised.__qualname__}
    return type(raised.__name__, (NodeFailed, raised), names)
