"""`dagorama.inspection`: promises in lists, tuples, sets and dicts, and whether a call fits a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

from dagcelery.compat.dagorama.models.promise import DAGPromise

__all__ = [
    "extract_promise_identifiers",
    "find_promises",
    "map_promises",
    "resolve_promises",
    "verify_function_call",
]


def map_promises(obj: Any, identifier_mapper: Callable[[DAGPromise], Any]) -> Any:
    """Return a copy of a value in which each promise is replaced; keys of dicts stay as they are."""
    if isinstance(obj, DAGPromise):
        return identifier_mapper(obj)
    if isinstance(obj, dict):
        return {key: map_promises(value, identifier_mapper) for key, value in obj.items()}
    for kind in (list, tuple, set):
        if isinstance(obj, kind):
            return kind([map_promises(value, identifier_mapper) for value in obj])
    return obj


def find_promises(obj: Any) -> list[DAGPromise]:
    """Return the promises in a value; not those in the arguments of these."""
    found: list[DAGPromise] = []
    map_promises(obj, found.append)
    return found


def resolve_promises(obj: Any, resolved_values: Mapping[str, Any]) -> Any:
    """Return a copy of a value with the values of promises in their places; `resolved_values` has them by identifier.

    Raises ValueError.
    """

    def value_of(promise: DAGPromise) -> Any:
        if str(promise.identifier) not in resolved_values:
            raise ValueError(f"Unexpected promise in resolved value: {promise}")
        return resolved_values[str(promise.identifier)]

    return map_promises(obj, value_of)


def extract_promise_identifiers(obj: Any) -> Any:
    """Return a copy of a value in which promises have nothing but their identifiers."""
    return map_promises(obj, lambda promise: DAGPromise(promise.identifier))


def verify_function_call(
    fn: Callable[..., Any], calling_args: Sequence[Any], calling_kwargs: Mapping[str, Any]
) -> bool:
    """Return True if a function can be called like that.

    Raises TypeError.
    """
    signature(fn).bind(*calling_args, **calling_kwargs)
    return True
