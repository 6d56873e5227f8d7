"""`present` is a function on lists, and where a list is yet to be made, a node."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from dagcelery import skipped
from dagcelery.frontends.functional.decorators import task
from dagcelery.frontends.functional.outputs import Output, current, flat
from dagcelery.skipped import Skipped

T = TypeVar("T")

_NODE: Final = task(skipped.present)


def present(xs: Iterable[T | Skipped], /) -> list[T]:
    """Return the elements of a list that were not skipped, in order: ``mean(present(scores))``.

    In the body of a DAG it is a node; in a dynamic task too, if the list has values that are yet to be made.
    """
    trace, elements = current(), xs if isinstance(xs, Output) else list(xs)
    if trace is None or (trace.is_dynamic and not any(isinstance(each, Output) for each in flat(elements))):
        return skipped.present(elements)
    return _NODE(elements)
