"""What nodes are made of: names, outputs, frozen values, and the order that follows from which needs which."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NoReturn, TypeAlias, TypeVar, get_args, get_origin

from dagcelery.errors import CyclicDependency, InvalidDag, InvalidDagType
from dagcelery.model.sources import Path, PathStep, Serialize, Serializer
from dagcelery.signatures import Unread, hint_at
from dagcelery.text import constructor_repr, shown

# Addresses such as train[3]/fit[0] and module:qualname are made of the characters that no name may have.
NAME: Final = re.compile(r"\w[\w-]{0,63}")

LONGEST: Final = 64

NAME_RULE: Final = (
    "up to 64 letters, digits, '_' and '-', not beginning with '-' ([ ] / . : mean something in addresses)"
)


def is_name(name: object) -> bool:
    """Whether something is fit to name a node, an input or an output."""
    if not isinstance(name, str):
        return False
    if NAME.fullmatch(name):
        return True
    return len(name) <= LONGEST and name[:1] not in ("", "-") and all(map(may_be_in_a_name, name))


def may_be_in_a_name(char: str) -> bool:
    """Whether a name may hold `char`: all that Python's own names may hold, such as the vowel signs of Hindi and Thai,
    which `re` does not take for letters.
    """
    return char == "-" or NAME.match(char) is not None or f"_{char}".isidentifier()


def is_in(name: object, names: Container[str]) -> bool:
    """Whether something is a str, and one of `names`."""
    return isinstance(name, str) and name in names


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


def serializer_of(hint: object) -> Serializer | Serialize | None:
    """Return the serializer within ``Annotated[T, AsParquet()]``."""
    if get_origin(hint) is not Annotated:
        return None
    return next(filter(_is_serializer, get_args(hint)[1:]), None)


def serializer_at(option: Serializer | Serialize | None, hint: object, path: Path) -> Serializer | None:
    """Return the serializer for what lies at `path` of a returned value: the nearest one that was named."""
    nearest = serializer_of(hint_at(hint, path)) if path else None
    if isinstance(nearest, Serializer):
        return nearest
    named = option or serializer_of(hint)
    if isinstance(named, Serialize):
        return named.at(path)
    return named


def _is_serializer(metadata: object) -> bool:
    return not isinstance(metadata, type | Unread) and isinstance(metadata, Serializer | Serialize)


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


class UniqueNames:
    """The names that are given within one DAG; `taken` ones are not given again."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken: dict[str, int] = {}
        for name in taken:
            self.fix(name)

    def fix(self, name: str) -> str:
        """Give exactly `name`."""
        if name in self._taken:
            remedy = f"name another one, or leave the name out: it would become '{name}-2'"
            raise InvalidDag(f"node name {shown(name)}", "is given twice in one DAG", remedy)
        self._taken[name] = 1
        return name

    def give(self, base: str) -> str:
        """Give `base` the first time, then ``base-2``, ``base-3``."""
        name, number = base, self._taken.get(base, 0)
        while name in self._taken:
            number += 1
            name = f"{base[: LONGEST - 8]}-{number}"
        self._taken[base] = max(number, 1)
        self._taken.setdefault(name, 1)
        return name


def output_name(path: Iterable[PathStep]) -> str:
    """Return what to call the output at `path`: return_value, key_a, property_b, key_a_property_b."""
    return valid("_".join(f"{kind}_{name}" for kind, name in path) or "return_value")


def valid(name: object) -> str:
    """Return `name` with what no name may have replaced by underscores."""
    text = str(name) if not isinstance(name, int) else shown(name)
    if is_name(text):
        return text
    return "".join(char if may_be_in_a_name(char) else "_" for char in text).lstrip("-")[:LONGEST] or "_"


def short_name(fn: Callable[..., Any]) -> str:
    """Return the name of a function, as its nodes have it."""
    return getattr(fn, "__name__", type(fn).__name__).strip("<>")
