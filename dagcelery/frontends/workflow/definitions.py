"""An object whose methods are nodes travels with them: by the name it was registered with, else by value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional.dynamic import drive

T = TypeVar("T")

_MARK: Final = "dagcelery definition"
_registered: dict[str, Any] = {}


def register_definition(definition: T, name: str | None = None) -> T:
    """Let nodes of `definition` name it instead of carrying it; every worker must register it where it is imported.

    It is called like its class, ``module:qualname``, unless a `name` tells several of one class apart. Returns it.
    Raises InvalidDag if another object has the name.
    """
    known = _registered.setdefault(name or _default_name(definition), definition)
    if known is not definition and type(known).__qualname__ != type(definition).__qualname__:
        raise InvalidDag(f"definition {name!r}", f"is registered as {known!r}", "give another name")
    if known is not definition and name is None and vars(known) != vars(definition):
        raise InvalidDag(
            f"definition {_default_name(definition)!r}", "is registered with another state", "give each a name"
        )
    return definition


def named(definition: object) -> object:
    """Return what stands for an object in an argument: a mark with its name if it was registered, else itself."""
    name = next((name for name, known in _registered.items() if known is definition), None)
    return definition if name is None else {_MARK: name}


def drive_method(method: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a workflow's method with its object; calls of other methods in it make a graph."""
    return drive(method, {name: _found(value) for name, value in arguments.items()})


def _found(value: object) -> object:
    if type(value) is not dict or value.keys() != {_MARK}:
        return value
    name = value[_MARK]
    if name not in _registered:
        raise InvalidDag(
            f"definition {name!r}",
            "is not registered in this worker",
            "call register_definition(...) in a module that workers import, such as that of its class",
        )
    return _registered[name]


def _default_name(definition: object) -> str:
    return f"{type(definition).__module__}:{type(definition).__qualname__}"
