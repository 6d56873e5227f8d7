"""Imports of modules and objects that a user names in a text: ``package.module``, ``package.module:attribute``."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from dagcelery.text import choices


class Unimportable(Exception):
    """A module or object cannot be imported; the room that got the text raises an error of its own instead.

    `has_failed` is true if a module was found and raised an exception.
    """

    def __init__(self, problem: str, remedy: str, *, has_failed: bool = False) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy
        self.has_failed = has_failed


def import_named(text: str) -> object:
    """Return the object with the name ``"package.module:attribute"``. Raises Unimportable."""
    module, _, path = text.partition(":")
    if not module or not path:
        raise Unimportable("it does not name a module and an object in it", "write 'package.module:name'")
    return attribute(import_module(module), path)


def import_module(name: str) -> ModuleType:
    """Import a module. Raises Unimportable."""
    if name.endswith(".py") or os.sep in name:
        dotted = os.path.normpath(name).removesuffix(".py").replace(os.sep, ".")
        raise Unimportable(f"'{name}' is a file", f"write its module's name, '{dotted}'")
    if not all(part and part == part.strip() for part in name.split(".")):
        raise Unimportable(f"'{name}' is not the name of a module", "write 'package.module'")
    with importing(name):
        return importlib.import_module(name)


@contextmanager
def importing(name: str) -> Iterator[None]:
    """Raise Unimportable for any exception of a module's body in this block."""
    try:
        yield
    except (Exception, SystemExit) as error:  # a module's body may raise anything
        # If a module that this one imports is missing, that is an error of this module.
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise Unimportable(f"module '{error.name}' does not exist", "put its folder on Python's path") from error
        message = " ".join(f"{type(error).__name__}: {error}{_place(error)}".split())
        problem = f"module '{name}' cannot be imported: {message}"
        raise Unimportable(problem, "repair it, then try again", has_failed=True) from error


def _place(error: BaseException) -> str:
    """Return the file and the line where an error was raised, "" if unknown."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<frozen") and file != __file__:
            place = f" ({file}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place


def attribute(module: ModuleType, path: str) -> object:
    """Return the object at a path such as ``name`` or ``Class.name`` in a module. Raises Unimportable."""
    target: object = module
    for name in path.split("."):
        with importing(module.__name__):  # a module may make its attributes when they are read
            is_there = hasattr(target, name)
        if not is_there:
            public = [each for each in dir(target) if not each.startswith("_")]
            raise Unimportable(f"module '{module.__name__}' has no '{path}'", choices(name, public))
        target = getattr(target, name)
    return target
