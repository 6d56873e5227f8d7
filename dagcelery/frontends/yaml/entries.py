"""A value of a configuration and the place where it stands, so that whatever is wrong with it can be pointed at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, TypeAlias

from dagcelery.errors import InvalidConfig, InvalidDag
from dagcelery.model.names import NAME_RULE, is_name
from dagcelery.text import choices

DEEPEST: Final = 20
"""How deep a configuration may be nested; workflows need half of it."""

MOST: Final = 200_000
"""How many values a configuration may hold, those that aliases repeat counted each time."""


@dataclass(frozen=True, slots=True)
class Odd:
    """A value of a kind that stands nowhere in a configuration, such as a number."""

    kind: str


Value: TypeAlias = "str | Odd | tuple[Entry, ...] | Mapping[str, Entry] | None"


def shown(text: str) -> str:
    """Return a text as errors show it: on one line, and not all of a long one."""
    return text if text.isprintable() and len(text) < 40 else repr(text[:40])


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: `line` counts from 1, and is None in a dict; `key` leads there from the top."""

    file: str
    line: int | None
    key: str = ""

    def below(self, key: str | int, line: int | None) -> Place:
        """Return the place of what stands here under a key or an index."""
        if isinstance(key, int):
            return Place(self.file, line, f"{self.key}[{key}]")
        return Place(self.file, line, f"{self.key}.{shown(key)}".removeprefix("."))

    def error(self, wrong: str, right: str = "") -> InvalidConfig:
        """Return the error that points here."""
        return InvalidConfig(self.file, self.line, self.key, wrong, right)


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and its place; each way to read it raises InvalidConfig where it is something else."""

    value: Value
    place: Place

    def fields(self, needed: Iterable[str], others: Iterable[str] = ()) -> Mapping[str, Entry]:
        """Return what stands under the keys of a mapping; none may be unknown, none of the `needed` missing."""
        if not isinstance(self.value, Mapping):
            self.refuse(f"is {self.kind}, where a mapping is due", f"write {', '.join(needed)} below it")
        known = (*needed, *others)
        for name, found in self.value.items():
            if name not in known:
                raise found.place.error("is not a known key", choices(name, known))
        for name in needed:
            if name not in self.value:
                self.refuse(f"the key {name!r} is missing", f"write it; there are {', '.join(known)}")
        return self.value

    def items(self, due: str) -> tuple[Entry, ...]:
        """Return the items of a list; nothing is an empty one."""
        if self.value is None:
            return ()
        if not isinstance(self.value, tuple):
            listed = shown(self.value) if isinstance(self.value, str) else "a, b"
            self.refuse(f"is {self.kind}, where a list of {due} is due", f"write [{listed}]")
        return self.value

    def text(self) -> str:
        """Return a text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            right = "put it into quotes" if isinstance(self.value, Odd) else "write one"
            self.refuse(f"is {self.kind}, where a text is due", right)
        return self.value

    def name(self) -> str:
        """Return a text that may name a workflow, a step, a parameter or an output."""
        if not is_name(self.text()):
            self.refuse(f"{self.value!r} is not a name", f"use {NAME_RULE}")
        return self.text()

    def one_of(self, known: Iterable[str]) -> str:
        """Return a text that is one of those that are `known`."""
        known = tuple(known)
        if self.text() not in known:
            self.refuse(f"{self.value!r} is none of {', '.join(known)}", choices(self.value, known))
        return self.text()

    def refuse(self, wrong: str, right: str = "") -> NoReturn:
        """Raise the error that points here."""
        raise self.place.error(wrong, right)

    @property
    def kind(self) -> str:
        """What it is, in words."""
        if self.value is None:
            return "nothing"
        if isinstance(self.value, Odd):
            return f"of type {self.value.kind}"
        if isinstance(self.value, str):
            return "a text" if self.value.strip() else "an empty text"
        return "a list" if isinstance(self.value, tuple) else "a mapping"


def told_at(place: Place, error: InvalidDag) -> InvalidConfig:
    """Return what a rule of the model says, pointing into the configuration."""
    return place.error(f"{error.culprit} {error.wrong}".strip(), error.right)


class Counter:
    """Counts values while a configuration is read, and stops where it is too deep or too large."""

    def __init__(self) -> None:
        self._left = MOST

    def enter(self, place: Place, depth: int) -> None:
        """Count one value that is nested `depth` deep."""
        self._left -= 1
        if depth > DEEPEST:
            place = Place(place.file, place.line, f"{place.key[:60]}…")
            raise place.error(f"is nested more than {DEEPEST} deep", "no workflow needs that")
        if self._left < 0:
            raise place.error(f"is more than the {MOST:,} values that are read", "split it into several files")


def entry_of(value: object, place: Place, counter: Counter, depth: int = 0) -> Entry:
    """Return the entry of a value that is made of dicts, lists and texts."""
    counter.enter(place, depth)

    def inner(key: str | int, part: object) -> Entry:
        return entry_of(part, place.below(key, None), counter, depth + 1)

    if isinstance(value, Mapping):
        return Entry(_checked_keys(value, place, inner), place)
    if isinstance(value, list | tuple):
        return Entry(tuple(inner(at, part) for at, part in enumerate(value)), place)
    return Entry(value if value is None or isinstance(value, str) else Odd(type(value).__name__), place)


def _checked_keys(
    value: Mapping[object, object], place: Place, inner: Callable[[str, object], Entry]
) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for key, part in value.items():
        if not isinstance(key, str):
            raise place.error(f"has a key of type {type(key).__name__}", "keys are texts")
        found[key] = inner(key, part)
    return found
