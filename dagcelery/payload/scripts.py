"""What runs as ``python -m package.module`` has a name that workers can import; a script has none, nor has a notebook.

Functions and classes say that they are of ``__main__`` then, which is another module in every process. In data they are
named after the module that runs, and what is named so is, in the process that runs it, the module ``__main__`` itself:
importing it a second time would make other classes of the same name.
"""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

SCRIPTS: Final = frozenset({"__main__", "__mp_main__"})

_known: list[tuple[ModuleSpec, str | None]] = []
"""The last spec that was looked for, since looking costs 50 us."""


def module_that_runs(script: str = "__main__") -> str | None:
    """Return the name by which others import what runs as ``python -m package.module``; None for a script."""
    spec = getattr(sys.modules.get(script), "__spec__", None)
    # A zip file or a folder that is run has a spec, which names it __main__.
    if spec is None or not spec.name or spec.name in SCRIPTS:
        return None
    if not _known or _known[0][0] is not spec:
        _known[:] = [(spec, spec.name if _is_importable(spec) else None)]
    return _known[0][1]


def import_module(name: str) -> ModuleType:
    """Import a module by the name that it has in data."""
    if name == module_that_runs():
        return sys.modules["__main__"]
    return importlib.import_module(name)


def found(module: str, qualname: str) -> Any:
    """Return what data names; the whole module for an empty `qualname`."""
    return _at(import_module(module), qualname)


def reference(value: Any) -> tuple[str, str] | None:
    """Return the names by which `value` is found in other processes if it stands in the module that runs here."""
    if isinstance(value, ModuleType):
        module = value.__name__ if value.__name__ in SCRIPTS and sys.modules.get(value.__name__) is value else None
        name = module_that_runs(module) if module is not None else None
        return (name, "") if name is not None else None
    try:
        script = getattr(value, "__module__", None)
        if script not in SCRIPTS:
            return None
        qualname = getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or _variable(value)
        if not isinstance(qualname, str) or _at(sys.modules[script], qualname) is not value:
            return None
    except Exception:  # proxies and lazy objects ask for what is not there yet
        return None
    name = module_that_runs(script)
    return (name, qualname) if name is not None else None


def _variable(value: Any) -> str | None:
    """Return the name of the variable that a class of its own says to be pickled as, as for a value there is once."""
    kind: Any = type(value)
    if kind.__reduce__ is object.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__:
        return None
    reduced = value.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    return reduced if isinstance(reduced, str) else None


def _at(module: ModuleType, qualname: str) -> Any:
    value: Any = module
    for name in qualname.split(".") if qualname else ():
        value = getattr(value, name)
    return value


def _is_importable(spec: ModuleSpec) -> bool:
    try:
        there = importlib.util.find_spec(spec.name)
    except (ImportError, ValueError):
        return False
    return there is not None and there.origin == spec.origin
