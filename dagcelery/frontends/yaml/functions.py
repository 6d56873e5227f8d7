"""The functions that a configuration names, found in modules by their dotted names or by the paths of their files."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from dagcelery.errors import InvalidConfig
from dagcelery.frontends.functional import TaskFunction
from dagcelery.frontends.yaml.dialects import Step
from dagcelery.frontends.yaml.entries import Entry
from dagcelery.model.graph import Task
from dagcelery.model.options import TaskOptions
from dagcelery.text import choices

# A module's body raises what it likes, and a script without a guard may even end the program.
_FAILURES = (Exception, SystemExit)


def function_of(step: Step, roots: Sequence[Path]) -> tuple[Callable[..., Any], TaskOptions]:
    """Return a step's function and how it is run. Raises InvalidConfig.

    Modules are looked for in the folders `roots` before Python's own path. One that is named by its file travels by
    value, since no worker could import it by a name; of a function that `@task` decorated the options hold as well.
    """
    name = step.module.text()
    by_path = name.endswith(".py") or "/" in name
    module = _from_file(step.module, roots) if by_path else _imported(step.module, roots)
    wanted = step.function.text()
    found = getattr(module, wanted, None)
    travelling = (module.__name__,) if by_path else ()
    if isinstance(found, TaskFunction):
        (node,) = found.__dag__().nodes.values()
        if isinstance(node, Task):
            return node.func, replace(node.options, by_value=(*node.options.by_value, *travelling))
    if found is None:
        functions = [known for known, value in vars(module).items() if callable(value) and known[0] != "_"]
        step.function.refuse(f"module {name!r} has no {wanted!r}", choices(wanted, functions))
    if not callable(found) or hasattr(found, "__dag__"):
        step.function.refuse(f"{wanted!r} of module {name!r} is not a function", "name a function, or a @task")
    return found, TaskOptions(by_value=travelling)


def _imported(entry: Entry, roots: Sequence[Path]) -> ModuleType:
    name = entry.text()
    if not all(part.isidentifier() for part in name.split(".")):
        entry.refuse(f"{name!r} is not a module", 'write "package.module", or the path of a file that ends in .py')
    home = next((root for root in roots if _is_at_home(root, name)), None)
    if home is not None and str(home) not in sys.path:
        sys.path.insert(0, str(home))
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise _failed(entry, error) from error
        wrong = f"module {name!r} was not found: {error}"
        entry.refuse(wrong, f"put it below {roots[0]}, or on Python's path")
    except _FAILURES as error:
        raise _failed(entry, error) from error
    if home is not None and not str(getattr(module, "__file__", None) or home).startswith(str(home)):
        right = "give one of them another name: in one process a name means one module"
        entry.refuse(f"module {name!r} was imported from {module.__file__} before", right)
    return module


def _is_at_home(root: Path, name: str) -> bool:
    path = root.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.joinpath("__init__.py").is_file()


def _from_file(entry: Entry, roots: Sequence[Path]) -> ModuleType:
    try:
        file = next((found for root in roots if (found := root / entry.text()).is_file()), None)
    except (OSError, ValueError):  # longer than a path may be, or with a NUL
        file = None
    if file is None or file.suffix != ".py":
        entry.refuse(f"there is no file {entry.text()!r}", f"name one that ends in .py, below {roots[0]}")
    file = file.resolve()
    # The same file has the same name in every process, and two files of one name do not meet.
    digest = hashlib.sha256(str(file).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    stem = file.stem if file.stem.isidentifier() else "module"
    name = f"dagcelery_file_{stem}_{digest}"
    return sys.modules.get(name) or _loaded(entry, name, file)


def _loaded(entry: Entry, name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except _FAILURES as error:
        del sys.modules[name]
        raise _failed(entry, error) from error
    return module


def _failed(entry: Entry, error: BaseException) -> InvalidConfig:
    wrong = f"module {entry.text()!r} cannot be imported: {type(error).__name__}: {error}"
    return entry.place.error(" ".join(wrong.split()), "repair it, then try again")
