"""A YAML file becomes entries, line by line; nothing in it is constructed but texts, lists and mappings."""

from __future__ import annotations

import os
from typing import Final

import yaml

from dagcelery.errors import InvalidConfig
from dagcelery.frontends.yaml.entries import DEEPEST, Counter, Entry, Odd, Place

LARGEST_BYTES: Final = 1024 * 1024
"""The largest file that is read; a thousand steps take a quarter of it."""

_TAG: Final = "tag:yaml.org,2002:"
_SCALARS: Final = frozenset({"str", "null", "bool", "int", "float", "timestamp", "binary", "merge", "value"})


def read(path: str | os.PathLike[str]) -> Entry:
    """Return what stands in a file. Raises InvalidConfig, also where there is none."""
    name = os.fsdecode(path)
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidConfig(name, None, "", f"cannot be read: {why}", "give the path of a YAML file") from error
    if len(data) > LARGEST_BYTES:
        raise InvalidConfig(name, None, "", f"has more than {LARGEST_BYTES:,} bytes", "split it into several files")
    try:
        return parse(data.decode("utf-8-sig"), name)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidConfig(name, line, "", "is not UTF-8", "save the file as UTF-8") from error


def parse(text: str, file: str) -> Entry:
    """Return what a text says; `file` is what errors call it. Raises InvalidConfig."""
    loader = _Loader(text, file)
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = " ".join(str(error.problem or error.context).split())
        right = "put texts that begin with one of * & ! % @ ` into quotes, and indent with spaces"
        raise InvalidConfig(file, mark.line + 1 if mark else None, "", f"is not YAML: {why}", right) from error
    except (ValueError, OverflowError) as error:  # of numbers in escapes and directives that are too large
        raise InvalidConfig(file, loader.line + 1, "", f"is not YAML: {error}", "write plain text") from error
    finally:
        loader.dispose()
    top = Place(file, 1)
    return Entry(None, top) if node is None else _entry(node, top, Counter(), 0)


class _Loader(yaml.SafeLoader):
    """Composes nodes and nothing else, and not deeper than anybody needs: composing is recursive."""

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


def _entry(node: yaml.Node, place: Place, counter: Counter, depth: int) -> Entry:
    counter.enter(place, depth)
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        return Entry(_fields(node, place, counter, depth), place)
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        parts = enumerate(node.value)
        return Entry(tuple(_entry(n, place.below(at, _line(n)), counter, depth + 1) for at, n in parts), place)
    kind = node.tag.removeprefix(_TAG)
    if not isinstance(node, yaml.ScalarNode) or kind not in _SCALARS:
        raise place.error(f"has the tag {node.tag!r}", "leave it out: a configuration is text, lists and mappings")
    return Entry({"str": node.value, "null": None}.get(kind, Odd(kind)), place)


def _fields(node: yaml.MappingNode, place: Place, counter: Counter, depth: int) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for key, value in node.value:
        at = Place(place.file, _line(key), place.key)
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
            raise at.error("has a key that is not a string", "put it into quotes")
        if key.value in found:
            first = found[key.value].place.line
            raise at.error(f"has the key {key.value!r} twice, first in line {first}", "leave one of them out")
        found[key.value] = _entry(value, place.below(key.value, _line(key)), counter, depth + 1)
    return found


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1
