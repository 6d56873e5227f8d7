"""A YAML file becomes entries, line by line; only texts, lists and mappings are constructed."""

from __future__ import annotations

import os
from typing import Final

import yaml

from dagcelery.errors import InvalidConfig
from dagcelery.frontends.yaml.entries import DEEPEST, Counter, Entry, Location, Unsupported

LARGEST_BYTES: Final = 1024 * 1024
"""The largest file that is read; a thousand steps take a quarter of it."""

_TAG: Final = "tag:yaml.org,2002:"
_SCALARS: Final = frozenset({"str", "null", "bool", "int", "float", "timestamp", "binary", "merge", "value"})


def read(path: str | os.PathLike[str]) -> Entry:
    """Return the top entry of a file.

    Raises InvalidConfig, also if it cannot be read.
    """
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
    loader = _Composer(text, file)
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


class _Composer(yaml.SafeLoader):
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


def _entry(node: yaml.Node, location: Location, counter: Counter, depth: int) -> Entry:
    counter.enter(location, depth)
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        return Entry(_fields(node, location, counter, depth), location)
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        parts = enumerate(node.value)
        return Entry(tuple(_entry(n, location.below(at, _line(n)), counter, depth + 1) for at, n in parts), location)
    kind = node.tag.removeprefix(_TAG)
    if not isinstance(node, yaml.ScalarNode) or kind not in _SCALARS:
        raise location.error(f"has the tag {node.tag!r}", "leave it out: a configuration is text, lists and mappings")
    return Entry({"str": node.value, "null": None}.get(kind, Unsupported(kind)), location)


def _fields(node: yaml.MappingNode, location: Location, counter: Counter, depth: int) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for key, value in node.value:
        at = Location(location.file, _line(key), location.key)
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
            raise at.error("has a key that is not a string", "put it into quotes")
        if key.value in entries:
            first = entries[key.value].location.line
            raise at.error(f"has the key {key.value!r} twice, first in line {first}", "leave one of them out")
        entries[key.value] = _entry(value, location.below(key.value, _line(key)), counter, depth + 1)
    return entries


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1
