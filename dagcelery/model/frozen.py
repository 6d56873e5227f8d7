"""What is valid once stays valid: mappings and objects that refuse to change, saying so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeVar

from dagcelery.errors import InvalidDagType
from dagcelery.model.reprs import constructor_repr
from dagcelery.text import shown

K = TypeVar("K")
V_co = TypeVar("V_co", covariant=True)


class FrozenMapping(Mapping[K, V_co]):
    """A read-only copy of a mapping; writing to it raises InvalidDagType, which names `owner`."""

    __slots__ = ("_items", "_owner")

    def __init__(self, items: Mapping[K, V_co], owner: str) -> None:
        if not isinstance(items, Mapping):
            raise InvalidDagType(f"the {owner}", f"are {shown(items)}, not a mapping", "give a dict of names")
        self._items = dict(items)
        self._owner = owner

    def __getitem__(self, key: K) -> V_co:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __setitem__(self, key: object, value: object) -> NoReturn:
        self._refuse()

    def __delitem__(self, key: object) -> NoReturn:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise InvalidDagType(f"the {self._owner}", "cannot be changed, since they were checked once", "build a new one")

    def __repr__(self) -> str:
        return repr(self._items)


class Frozen:
    """Objects of value: attributes are set once, by `_become`; equal if all of them are."""

    def _become(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        self._refuse(name)

    def __delattr__(self, name: str) -> NoReturn:
        self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        kind = type(self).__name__
        raise AttributeError(f"{kind}.{name} cannot be changed, it was checked once: build a new {kind}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    # Values in it may be unhashable, and objects that are equal must hash alike: the type is what is left.
    def __hash__(self) -> int:
        return hash(type(self))

    __repr__ = constructor_repr
