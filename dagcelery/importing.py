"""Importing what a text of a user's names: ``package.module``, or ``package.module:attribute``."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from dagcelery.text import choices


class Unimportable(Exception):
    """What a text names cannot be imported. The room that was given the text raises an error of its own for that.

    `has_failed` is true where a module was found, and raised something.
    """

    def __init__(self, problem: str, remedy: str, *, has_failed: bool = False) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy
        self.has_failed = has_failed


def import_named(text: str) -> object:
    """Return what ``"package.module:attribute"`` names. Raises Unimportable."""
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
    """Raise Unimportable for whatever the body of a module raises in this block."""
    try:
        yield
    except (Exception, SystemExit) as error:  # a module's body raises what it likes
        # A module that this one imports may be missing as well: that is this module's own error.
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise Unimportable(f"there is no module '{error.name}'", "put its folder on Python's path") from error
        message = " ".join(f"{type(error).__name__}: {error}{_place(error)}".split())
        problem = f"module '{name}' cannot be imported: {message}"
        raise Unimportable(problem, "repair it, then try again", has_failed=True) from error


def _place(error: BaseException) -> str:
    """Return the file and the line that raised an error, if there are any."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<frozen") and file != __file__:
            place = f" ({file}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place


def attribute(module: ModuleType, path: str) -> object:
    """Return what a path such as ``name`` or ``Class.name`` leads to in a module. Raises Unimportable."""
    found: object = module
    for name in path.split("."):
        with importing(module.__name__):  # a module may make its attributes when they are asked for
            is_there = hasattr(found, name)
        if not is_there:
            public = [known for known in dir(found) if not known.startswith("_")]
            raise Unimportable(f"module '{module.__name__}' has no '{path}'", choices(name, public))
        found = getattr(found, name)
    return found
