"""What can be turned into a DAG, whatever frontend it was written with."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from dagcelery.model.graph import DAG

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


@runtime_checkable
class Buildable(Protocol[P, R_co]):
    """A callable that keeps its signature and knows the DAG that it stands for."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    def __dag__(self) -> DAG: ...
