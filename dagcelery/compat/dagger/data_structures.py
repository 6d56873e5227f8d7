"""`dagger.data_structures`: mappings that cannot be changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, TypeVar

from dagcelery.compat.dagger import old_paths
from dagcelery.compat.dagger.old_texts import WrongType
from dagcelery.model import nodes

K = TypeVar("K")
V_co = TypeVar("V_co", covariant=True)

__all__ = ["FrozenMapping"]


class FrozenMapping(nodes.FrozenMapping[K, V_co]):
    """A mapping that says `error_message` to whoever changes it: that is a TypeError."""

    __slots__ = ("_error_message",)

    def __init__(self, mapping: Mapping[K, V_co], error_message: str) -> None:
        super().__init__(mapping, "items of a mapping")
        self._error_message = error_message

    def _refuse(self) -> NoReturn:
        raise WrongType("", self._error_message)


old_paths.register(__name__)
