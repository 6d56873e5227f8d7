"""Modules form no knot: none imports one that imports it, whenever and however that is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from .source import PACKAGE, Module, modules

# What is imported by a name in a text, such as "dagcelery.cli:main".
BY_TEXT = re.compile(rf"{PACKAGE.name}(\.\w+)+:\w+")

# Celery takes these as texts only, and imports them in the processes that need them: a worker's steps and requests,
# the scheduler of a beat, the app of a spawned child. Web processes load the app that names them, and none of these.
BY_CELERY = {"dagcelery.worker.heartbeat", "dagcelery.worker.beat", "dagcelery.worker.own"}

Edges = Mapping[str, set[str]]


def named_in_texts(module: Module) -> Iterator[str]:
    """Yield the dotted names that are the whole of a text in a module."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and BY_TEXT.fullmatch(node.value):
            name = node.value.partition(":")[0]
            if not (name in BY_CELERY and module.room == "worker"):
                yield name


def imported_modules() -> Edges:
    """Return the modules that each module imports, for type checkers, in functions and by name too.

    A package's ``__init__`` counts only where it is imported itself: it gathers the names of its modules.
    """
    known = {module.dotted for module in modules()}

    def module_of(name: str) -> str:
        while name not in known:
            name = name.rpartition(".")[0]
        return name

    return {
        module.dotted: {
            module_of(name)
            for name in (*module.imports(), *named_in_texts(module))
            if name.partition(".")[0] == PACKAGE.name
        }
        - {module.dotted}
        for module in modules()
    }


def reachable(start: str, edges: Edges) -> set[str]:
    """Return what a module imports, directly or not; itself only where the way leads back to it."""
    seen, waiting = set[str](), list(edges[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += edges[name]
    return seen


def knots(edges: Edges) -> list[list[str]]:
    """Return the groups of modules of which each imports each other, directly or not."""
    reached = {name: reachable(name, edges) for name in edges}
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in edges
        if name in reached[name]
    }
    return [list(group) for group in sorted(groups)]


def test_a_knot_is_seen() -> None:
    assert knots({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [["b", "c"]]


def test_no_modules_import_each_other() -> None:
    found = knots(imported_modules())
    assert not found, "\n".join(", ".join(knot) for knot in found)
