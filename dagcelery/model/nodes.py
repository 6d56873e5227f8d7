"""Names of nodes, inputs and outputs: what they may look like.

An output says which part of a task's returned value is kept, how, and whether by element.

What is valid once stays valid: mappings and objects that refuse to change, saying so.

Which list a node runs once per item of, and whether two such lists have the same items.

The rules of branches: DAGs that run only if a condition holds. One function a rule, as in `rules`.

Which nodes must have finished before a node may start, and the order that follows from it.

What can be turned into a DAG, whatever frontend it was written with.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec, Protocol, TypeAlias, TypeVar, runtime_checkable

from dagcelery.errors import CyclicDependency, InvalidDag, InvalidDagType
from dagcelery.model.options import Serializer
from dagcelery.model.sources import (
    Choice,
    Each,
    FromNodeOutput,
    FromParam,
    PathStep,
    Readable,
    Source,
    own_items,
    reads,
    walk,
)
from dagcelery.text import choices, constructor_repr, shown

if TYPE_CHECKING:
    from dagcelery.model.graph import DAG, Node


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
    which are no letters to `re`.
    """
    return char == "-" or NAME.match(char) is not None or f"_{char}".isidentifier()


def is_in(name: object, known: Container[str]) -> bool:
    """Whether something is a str, and one of the `known` names."""
    return isinstance(name, str) and name in known


@dataclass(frozen=True, slots=True)
class FromReturnValue:
    """The whole returned value."""

    serializer: Serializer | None = None
    is_partitioned: bool = False

    __repr__ = constructor_repr

    @property
    def steps(self) -> tuple[PathStep, ...]:
        """The way into the returned value: none, it is the value."""
        return ()


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


Root: TypeAlias = tuple[str, str]


def fan_source(node: Node) -> Readable | None:
    """Return the source that `node` runs once per item of; None if it runs once.

    It may be the output of a fan-out: then `node` runs once per item of whatever that one runs over.
    """
    return next(fan_sources(node), None)


def fan_sources(node: Node) -> Iterator[Readable]:
    """Yield every source that `node` takes by item; all of them must have the same items."""
    if node.over is not None:
        yield node.over
    for name, source in node.inputs.items():
        if name == node.partition_by_input and not isinstance(source, Each):
            if isinstance(source, FromParam | FromNodeOutput):
                yield named(source, name)
        else:
            for read in own_items(source):
                yield named(read, name)


def named(read: Readable, input_name: str) -> Readable:
    """Return `read` with the name that a nameless parameter takes from its input."""
    if isinstance(read, FromParam) and read.name is None:
        return replace(read, name=input_name)
    return read


def roots(dag: DAG) -> dict[str, Root]:
    """Return for each fan-out of `dag` where its items come from: (node, output) or ("", parameter)."""
    found: dict[str, Root] = {}
    for layer in dag.node_execution_order:
        for name in layer:
            source = fan_source(dag.nodes[name])
            if source is not None:
                found[name] = root(source, found)
    return found


def root(source: Readable, known: Mapping[str, Root]) -> Root:
    """Return where the items of `source` come from; `known` are the roots of the nodes before it."""
    if isinstance(source, FromParam):
        return "", source.name or ""
    return known.get(source.node, (source.node, source.output))


MAPPED_BRANCH: Final = "let a nested DAG that runs once per item hold it"


def condition_is_an_input(dag: DAG) -> None:
    if dag.only_if is None:
        return
    culprit = f"only_if={shown(dag.only_if)}"
    if not isinstance(dag.only_if, tuple) or len(dag.only_if) != 2 or not isinstance(dag.only_if[1], bool):
        raise InvalidDagType(culprit, "is not a condition", "give the name of an input, and True or False")
    if not is_in(dag.only_if[0], dag.inputs):
        raise InvalidDag(culprit, "names none of its inputs", choices(dag.only_if[0], dag.inputs))


def branches_run_at_most_once(dag: DAG) -> None:
    for name, node in dag.nodes.items():
        if getattr(node, "only_if", None) is not None and fan_source(node) is not None:
            raise InvalidDag(f"node {shown(name)}", "runs only if a condition holds, and once per item", MAPPED_BRANCH)


def choices_have_conditions(dag: DAG) -> None:
    for source in [*dag.outputs.values(), *(each for node in dag.nodes.values() for each in node.inputs.values())]:
        for part in walk(source):
            if isinstance(part, Choice) and not isinstance(part.condition, FromParam | FromNodeOutput):
                _refuse(part.condition)


def _refuse(condition: Source) -> None:
    right = "give FromParam(...) or FromNodeOutput(...)"
    raise InvalidDagType(f"condition={shown(condition)} of a Choice", "is not a value that a run makes", right)


BRANCH_RULES: tuple[Callable[[DAG], None], ...] = (
    condition_is_an_input,
    branches_run_at_most_once,
    choices_have_conditions,
)


def dependencies(node: Node) -> set[str]:
    """Return the names of the siblings that `node` waits for: those it reads, and those it comes after."""
    return {read.node for read in read_by(node) if isinstance(read, FromNodeOutput)} | set(node.after)


def read_by(node: Node) -> Iterator[Readable]:
    """Yield every parameter and output that `node` reads."""
    for source in node.inputs.values():
        yield from reads(source)
    if node.over is not None:
        yield node.over


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
