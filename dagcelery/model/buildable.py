"""What is a DAG in the eyes of all rooms: any callable that can tell one, whatever frontend made it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar, runtime_checkable

from dagcelery.errors import InvalidDagType
from dagcelery.text import shown

if TYPE_CHECKING:
    from dagcelery.model.graph import DAG

P = ParamSpec("P")

R_co = TypeVar("R_co", covariant=True)


@runtime_checkable
class Buildable(Protocol[P, R_co]):
    """A callable that keeps its signature and knows the DAG that it stands for, whatever frontend made it."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    def __dag__(self) -> DAG: ...


def is_buildable(value: object) -> bool:
    """Whether `value` is a decorated function, and not its class."""
    return isinstance(value, Buildable) and not isinstance(value, type)


def not_buildable(value: object, problem: str, remedy: str, culprit: str = "") -> InvalidDagType:
    """Return the error for a value that is not a decorated function; there may be one beneath another decorator."""
    if is_buildable(inspect.unwrap(value, stop=is_buildable) if callable(value) else value):
        problem = "is not what @task or @dag made of it any more, since another decorator stands above"
        remedy = "put @task or @dag on top of its other decorators: the decorated function is what it runs"
    return InvalidDagType(culprit or shown(value), problem, remedy)
