"""What can be turned into a DAG, whatever frontend it was written with."""

from __future__ import annotations

import inspect
from typing import ParamSpec, Protocol, TypeVar, runtime_checkable

from dagcelery.errors import InvalidDagType
from dagcelery.model.graph import DAG
from dagcelery.text import shown

P = ParamSpec("P")

R_co = TypeVar("R_co", covariant=True)


@runtime_checkable
class Buildable(Protocol[P, R_co]):
    """A callable that keeps its signature and knows the DAG that it stands for."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    def __dag__(self) -> DAG: ...


def is_buildable(found: object) -> bool:
    """Whether `found` is a decorated function, and not its class."""
    return isinstance(found, Buildable) and not isinstance(found, type)


def not_buildable(found: object, wrong: str, right: str, culprit: str = "") -> InvalidDagType:
    """Return the error for anything but a decorated function, which may lie beneath another decorator."""
    beneath = inspect.unwrap(found, stop=is_buildable) if callable(found) else found
    if is_buildable(beneath):
        wrong = "is no longer what @task or @dag made of it, since another decorator stands above"
        right = "put @task or @dag on top of its other decorators: the decorated function is what it runs"
    return InvalidDagType(culprit or shown(found), wrong, right)
