"""A configuration is read as entries that know their location; it stands in a YAML file, or is a dict of its shape.

Of YAML only texts, lists and mappings are constructed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from dagcelery.errors import InvalidConfig, InvalidDag, NotConfigured
from dagcelery.model.names import NAME_RULE, is_name
from dagcelery.text import choices

if TYPE_CHECKING:
    import yaml

LARGEST_BYTES: Final = 1024 * 1024
"""The largest file that is read; a thousand steps take a quarter of it."""

_TAG: Final = "tag:yaml.org,2002:"
_SCALARS: Final = frozenset({"str", "null", "bool", "int", "float", "timestamp", "binary", "merge", "value"})


DEEPEST: Final = 20
"""How deep a configuration may be nested; workflows need half of it."""

MOST: Final = 200_000
"""How many values a configuration may hold, those that aliases repeat counted each time."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A value of a kind that a configuration does not have, such as a number."""

    kind: str


Value: TypeAlias = "str | Unsupported | tuple[Entry, ...] | Mapping[str, Entry] | None"


def shown(text: str) -> str:
    """Return a text as errors show it: on one line, and not all of a long one."""
    return text if text.isprintable() and len(text) < 40 else repr(text[:40])


@dataclass(frozen=True, slots=True)
class Location:
    """Where a value is: `line` counts from 1, and is None in a dict; `key` leads there from the top."""

    file: str
    line: int | None
    key: str = ""

    def below(self, key: str | int, line: int | None) -> Location:
        """Return the location of the value under a key or an index."""
        if isinstance(key, int):
            return Location(self.file, line, f"{self.key}[{key}]")
        return Location(self.file, line, f"{self.key}.{shown(key)}".removeprefix("."))

    def error(self, problem: str, remedy: str = "") -> InvalidConfig:
        """Return the error that points here."""
        return InvalidConfig(self.file, self.line, self.key, problem, remedy)


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and its location. Each method that reads it raises InvalidConfig if it is something else."""

    value: Value
    location: Location

    def fields(self, needed: Iterable[str], others: Iterable[str] = ()) -> Mapping[str, Entry]:
        """Return the entries of a mapping by key; no key may be unknown, and none of the `needed` missing."""
        if not isinstance(self.value, Mapping):
            self.refuse(f"is {self.kind}, where a mapping is due", f"write {', '.join(needed)} below it")
        keys = (*needed, *others)
        for name, entry in self.value.items():
            if name not in keys:
                entry.refuse("is not a known key", choices(name, keys))
        for name in needed:
            if name not in self.value:
                self.refuse(f"the key {name!r} is missing", f"write it; there are {', '.join(keys)}")
        return self.value

    def items(self, due: str) -> tuple[Entry, ...]:
        """Return the items of a list; nothing counts as an empty one."""
        if self.value is None:
            return ()
        if not isinstance(self.value, tuple):
            listed = shown(self.value) if isinstance(self.value, str) else "a, b"
            self.refuse(f"is {self.kind}, where a list of {due} is due", f"write [{listed}]")
        return self.value

    def text(self) -> str:
        """Return a text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            remedy = "put it into quotes" if isinstance(self.value, Unsupported) else "write one"
            self.refuse(f"is {self.kind}, where a text is due", remedy)
        return self.value

    def name(self) -> str:
        """Return a text that may name a workflow, a step, a parameter or an output."""
        if not is_name(self.text()):
            self.refuse(f"{self.value!r} is not a name", f"use {NAME_RULE}")
        return self.text()

    def one_of(self, *texts: str) -> str:
        """Return a text that is one of `texts`."""
        if self.text() not in texts:
            self.refuse(f"{self.value!r} is not one of {', '.join(texts)}", choices(self.value, texts))
        return self.text()

    def refuse(self, problem: str, remedy: str = "") -> NoReturn:
        """Raise the error that points here."""
        raise self.location.error(problem, remedy)

    @property
    def kind(self) -> str:
        """What it is, in words."""
        if self.value is None:
            return "nothing"
        if isinstance(self.value, Unsupported):
            return f"of type {self.value.kind}"
        if isinstance(self.value, str):
            return "a text" if self.value.strip() else "an empty text"
        return "a list" if isinstance(self.value, tuple) else "a mapping"


def located(location: Location, error: InvalidDag) -> InvalidConfig:
    """Return the error of a rule of the model as one that points into the configuration."""
    return location.error(f"{error.culprit} {error.problem}".strip(), error.remedy)


class Counter:
    """Counts values while a configuration is read, and stops where it is too deep or too large."""

    def __init__(self) -> None:
        self._left = MOST

    def enter(self, location: Location, depth: int) -> None:
        """Count one value that is nested `depth` deep."""
        self._left -= 1
        if depth > DEEPEST:
            location = Location(location.file, location.line, f"{location.key[:60]}…")
            raise location.error(f"is nested more than {DEEPEST} deep", "no workflow needs that")
        if self._left < 0:
            raise location.error(f"is more than the {MOST:,} values that are read", "split it into several files")


def entry_of(value: object, location: Location, counter: Counter, depth: int = 0) -> Entry:
    """Return the entry of a value that is made of dicts, lists and texts."""
    counter.enter(location, depth)

    def inner(key: str | int, part: object) -> Entry:
        return entry_of(part, location.below(key, None), counter, depth + 1)

    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise location.error(f"has a key of type {type(key).__name__}", "keys are texts")
        return Entry({key: inner(key, part) for key, part in value.items()}, location)
    if isinstance(value, list | tuple):
        return Entry(tuple(inner(at, part) for at, part in enumerate(value)), location)
    return Entry(value if value is None or isinstance(value, str) else Unsupported(type(value).__name__), location)


def read(path: str | os.PathLike[str]) -> Entry:
    """Return the top entry of a file.

    Raises InvalidConfig, also if it cannot be read, and NotConfigured without PyYAML.
    """
    if not isinstance(path, str | os.PathLike):
        problem = f"is of type {type(path).__name__}"
        raise InvalidConfig("the configuration", None, "", problem, "give a path, or a dict")
    try:
        import yaml  # noqa: F401  # an extra
    except ModuleNotFoundError as error:
        remedy = "pip install 'dagcelery[yaml]', or give a dict"
        raise NotConfigured("reading a YAML file needs PyYAML, which is not installed", remedy) from error
    name = os.fsdecode(path)
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidConfig(name, None, "", f"cannot be read: {reason}", "give the path of a YAML file") from error
    if len(data) > LARGEST_BYTES:
        raise InvalidConfig(name, None, "", f"has more than {LARGEST_BYTES:,} bytes", "split it into several files")
    try:
        return parse(data.decode("utf-8-sig"), name)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidConfig(name, line, "", "is not UTF-8", "save the file as UTF-8") from error


def parse(text: str, file: str) -> Entry:
    """Return the top entry of a text, which errors call `file`.

    Raises InvalidConfig.
    """
    import yaml

    loader = _composer()(text, file)
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(str(error.problem or error.context).split())
        remedy = "put texts that begin with one of * & ! % @ ` into quotes, and indent with spaces"
        raise InvalidConfig(file, mark.line + 1 if mark else None, "", f"is not YAML: {reason}", remedy) from error
    except (ValueError, OverflowError) as error:  # of numbers in escapes and directives that are too large
        raise InvalidConfig(file, loader.line + 1, "", f"is not YAML: {error}", "write plain text") from error
    finally:
        loader.dispose()
    top = Location(file, 1)
    return Entry(None, top) if node is None else _entry(node, top, Counter(), 0)


@functools.cache
def _composer() -> Any:
    """Return the class that composes; PyYAML is an extra, since a configuration may also be a dict."""
    import yaml

    class Composer(yaml.SafeLoader):
        """A loader that composes nodes and nothing else; not too deep, since composing is recursive."""

        def __init__(self, text: str, file: str) -> None:
            self._depth = 0
            try:
                super().__init__(text)
            except yaml.reader.ReaderError as error:
                line = text.count("\n", 0, error.position) + 1
                raise InvalidConfig(file, line, "", f"is not YAML: {error.reason}", "write plain text") from error

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            self._depth += 1
            if self._depth > 2 * DEEPEST:
                raise yaml.MarkedYAMLError(problem="it is nested too deep", problem_mark=self.get_mark())
            try:
                return super().compose_node(parent, index)
            finally:
                self._depth -= 1

    return Composer


def _entry(node: Any, location: Location, counter: Counter, depth: int) -> Entry:
    counter.enter(location, depth)
    if node.id == "mapping" and node.tag == f"{_TAG}map":
        return Entry(_fields(node, location, counter, depth), location)
    if node.id == "sequence" and node.tag == f"{_TAG}seq":
        parts = enumerate(node.value)
        return Entry(tuple(_entry(n, location.below(at, _line(n)), counter, depth + 1) for at, n in parts), location)
    kind = node.tag.removeprefix(_TAG)
    if node.id != "scalar" or kind not in _SCALARS:
        raise location.error(f"has the tag {node.tag!r}", "leave it out: a configuration is text, lists and mappings")
    return Entry({"str": node.value, "null": None}.get(kind, Unsupported(kind)), location)


def _fields(node: Any, location: Location, counter: Counter, depth: int) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for key, value in node.value:
        at = Location(location.file, _line(key), location.key)
        if key.id != "scalar" or key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
            raise at.error("has a key that is not a string", "put it into quotes")
        if key.value in entries:
            first = entries[key.value].location.line
            raise at.error(f"has the key {key.value!r} twice, first in line {first}", "leave one of them out")
        entries[key.value] = _entry(value, location.below(key.value, _line(key)), counter, depth + 1)
    return entries


def _line(node: Any) -> int:
    line: int = node.start_mark.line
    return line + 1
