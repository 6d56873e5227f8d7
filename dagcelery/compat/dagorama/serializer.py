"""`dagorama.serializer`: functions by name, and objects whose state workers already have."""

from __future__ import annotations

from importlib import import_module
from inspect import isclass
from typing import Any, Final
from uuid import UUID

from dagcelery.compat.dagorama.definition import DAGDefinition
from dagcelery.compat.dagorama.instance import DAGInstance
from dagcelery.compat.dagorama.queues import function_to_name as name_of_function
from dagcelery.frontends.workflow import REGISTERED

__all__ = ["DEFINITION_CACHE", "function_to_name", "name_to_function", "register_definition"]

DEFINITION_CACHE: Final = REGISTERED


def function_to_name(func: Any) -> str:
    """Return ``module:qualname`` of a function or a class, or of the class of a definition."""
    if isinstance(func, DAGInstance):
        func = func.definition
    return name_of_function(type(func) if isinstance(func, DAGDefinition) else func)


def register_definition(definition: DAGDefinition) -> DAGDefinition:
    """Let nodes of `definition` name it instead of carrying it, in place of an earlier one of its class. Returns it.

    Every worker must register it where it is imported.
    """
    DEFINITION_CACHE[function_to_name(definition)] = definition
    return definition


def name_to_function(name: str, instance_id: UUID) -> Any:
    """Return the function of that name; a method as one of an instance, whose definition is the registered one, or new.

    Raises ValueError.
    """
    module, _, path = name.partition(":")
    found: Any
    try:
        found = import_module(module)
        for at, part in enumerate(names := path.split("."), 1):
            found = DEFINITION_CACHE.get(f"{module}:{'.'.join(names[:at])}") or getattr(found, part)
            found = found() if isclass(found) else found
            found = DAGInstance(instance_id, found) if isinstance(found, DAGDefinition) else found
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"Unable to resolve dagorama function {name}: {error}") from error
    return found
