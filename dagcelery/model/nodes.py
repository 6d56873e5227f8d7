"""What nodes are made of: outputs, frozen values, and the order that follows from which needs which."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

from dagcelery.errors import CyclicDependency, InvalidDagType
from dagcelery.model.serializers import Serializer
from dagcelery.model.sources import PathStep
from dagcelery.text import constructor_repr, shown


@dataclass(frozen=True, slots=True, repr=False)
class FromReturnValue:
    """The whole returned value."""

    serializer: Serializer | None = None
    is_partitioned: bool = False

    __repr__ = constructor_repr

    @property
    def steps(self) -> tuple[PathStep, ...]:
        """The way into the returned value: none, it is the value."""
        return ()


@dataclass(frozen=True, slots=True, repr=False)
class FromKey:
    """The item at key `name` of the returned mapping."""

    name: str
    serializer: Serializer | None = None
    is_partitioned: bool = False

    __repr__ = constructor_repr

    @property
    def steps(self) -> tuple[PathStep, ...]:
        """The way into the returned value: one key."""
        return (("key", self.name),)


@dataclass(frozen=True, slots=True, repr=False)
class FromProperty:
    """The attribute `name` of the returned object."""

    name: str
    serializer: Serializer | None = None
    is_partitioned: bool = False

    __repr__ = constructor_repr

    @property
    def steps(self) -> tuple[PathStep, ...]:
        """The way into the returned value: one attribute."""
        return (("property", self.name),)


@dataclass(frozen=True, slots=True, repr=False)
class FromPath:
    """What is found by following several keys and properties: ``out["a"].b[0]``."""

    steps: tuple[PathStep, ...]
    serializer: Serializer | None = None
    is_partitioned: bool = False

    __repr__ = constructor_repr


TaskOutput: TypeAlias = FromReturnValue | FromKey | FromProperty | FromPath

OUTPUTS: Final = (FromReturnValue, FromKey, FromProperty, FromPath)


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

    # `Mapping` makes what follows of the three above, in Python; but rules and plans go through many of these.
    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __eq__(self, other: object) -> bool:
        return self._items == (other._items if isinstance(other, FrozenMapping) else other)

    __hash__ = None  # type: ignore[assignment]

    def keys(self) -> KeysView[K]:
        return self._items.keys()

    def values(self) -> ValuesView[V_co]:
        return self._items.values()

    def items(self) -> ItemsView[K, V_co]:
        return self._items.items()

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

    def _shown_with(self, **attributes: object) -> str:
        """Return the repr with other attributes in place of its own."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, **attributes)
        return constructor_repr(other)


def layers(needs: Mapping[str, set[str]]) -> list[set[str]]:
    """Group names so that each needs only earlier groups; raise CyclicDependency if that cannot be."""
    needed_by: dict[str, list[str]] = {name: [] for name in needs}
    for name, needed in needs.items():
        for other in needed:
            needed_by[other].append(name)
    missing = {name: len(needed) for name, needed in needs.items()}
    layer = {name for name, count in missing.items() if not count}
    result: list[set[str]] = []
    while layer:
        result.append(layer)
        layer = set(_now_complete(layer, needed_by, missing))
    stuck = {name: needs[name] for name, count in missing.items() if count}
    if stuck:
        raise CyclicDependency(_circle(stuck))
    return result


def _now_complete(done: set[str], needed_by: Mapping[str, list[str]], missing: dict[str, int]) -> Iterator[str]:
    for name in done:
        for waiting in needed_by[name]:
            missing[waiting] -= 1
            if not missing[waiting]:
                yield waiting


def _circle(stuck: Mapping[str, set[str]]) -> list[str]:
    path = [min(stuck)]
    while True:
        # Every stuck node needs a stuck one, so that this walk must come back to where it was.
        following = min(name for name in stuck[path[-1]] if name in stuck)
        if following in path:
            return path[path.index(following) :]
        path.append(following)
