"""`dagorama.models.promise`: what stands for a value that is not there yet."""

from __future__ import annotations

from abc import ABCMeta
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from dagcelery.frontends.functional.dynamic import Promise

__all__ = ["DAGPromise"]


@dataclass
class DAGPromise(metaclass=ABCMeta):
    """The value that a run will have; `identifier` is the run's id, `arguments` are `DAGArguments`.

    What decorated methods return to each other while a run goes on counts as one, too.
    """

    identifier: UUID
    function_name: str | None = None
    arguments: Any = None


_: Any = DAGPromise.register(Promise)
