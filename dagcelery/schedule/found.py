"""Which DAGs have a schedule: those in modules that an app, or DAGCELERY_IMPORTS, names, and in files of workflows."""

from __future__ import annotations

import glob
import importlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from celery import Celery

from dagcelery.errors import InvalidDag, InvalidSetting
from dagcelery.frontends.yaml import load
from dagcelery.model import DAG, EMPTY, Buildable, FromParam
from dagcelery.model.schedules import Schedule, check_given
from dagcelery.runtime.paths import search_here
from dagcelery.settings import Settings


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A DAG that the clock submits."""

    name: str
    node: Buildable[..., Any] | DAG
    schedule: Schedule


def of_app(app: Celery, settings: Settings) -> list[Scheduled]:
    """Return the DAGs that an app's beat is to submit, by name.

    Raises InvalidDag where one needs parameters or two have one name, InvalidSetting where a module cannot be imported.
    """
    search_here()
    app.loader.import_default_modules()
    nodes = [node for module in _modules(app, settings.imports) for node in vars(sys.modules[module]).values()]
    return _checked([*_scheduled(nodes), *of_files(settings.workflows)])


def of_files(patterns: Iterable[str]) -> list[Scheduled]:
    """Return the workflows with a schedule in YAML files. Raises InvalidConfig, and InvalidSetting if there is none."""
    found: list[Scheduled] = []
    for pattern in patterns:
        paths = sorted(glob.glob(pattern, recursive=True))
        if not paths:
            raise InvalidSetting("DAGCELERY_WORKFLOWS", f"names {pattern!r}, and there is no such file", "write a path")
        for path in dict.fromkeys(paths):
            found += _scheduled([workflow.dag for workflow in load(path)])
    return _checked(found)


def _modules(app: Celery, imports: Iterable[str]) -> list[str]:
    """Import what is named, and return the names of the modules in which DAGs may stand.

    Of a package those modules count that are loaded by then: to import what nobody named might do anything.
    """
    for name in imports:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # a module's body raises what it likes
            wrong = f"names {name}, which cannot be imported: {type(error).__name__}: {error}"
            raise InvalidSetting("DAGCELERY_IMPORTS", wrong, "write modules on Python's path") from error
    named = (*imports, *(str(name) for name in cast(Any, app.loader).task_modules))
    loaded = [name for name in sys.modules if any(f"{name}.".startswith(f"{each}.") for each in named)]
    beside = [name for name, module in list(sys.modules.items()) if app in _apps(module)]
    return list(dict.fromkeys([*loaded, *beside]))


def _apps(module: object) -> Iterator[Celery]:
    return (found for found in list(getattr(module, "__dict__", {}).values()) if isinstance(found, Celery))


def _scheduled(nodes: Iterable[object]) -> Iterator[Scheduled]:
    for node in nodes:
        if isinstance(node, type) or not isinstance(node, DAG | Buildable):
            continue
        if isinstance(node, DAG) or getattr(node, "schedule", None):  # others need not be built to know that
            dag = node if isinstance(node, DAG) else node.__dag__()
            if dag.options.schedule is not None:
                yield Scheduled(dag.name or "", node, dag.options.schedule)


def _checked(found: Iterable[Scheduled]) -> list[Scheduled]:
    by_name: dict[str, Scheduled] = {}
    for each in found:
        dag = each.node if isinstance(each.node, DAG) else each.node.__dag__()
        if not each.name:
            raise InvalidDag(f"a DAG with the schedule {each.schedule}", "has no name", "give DAG(..., name='nightly')")
        required = [
            name
            for name, source in dag.inputs.items()
            if isinstance(source, FromParam) and source.default_value is EMPTY
        ]
        check_given(each.name, required)
        other = by_name.setdefault(each.name, each)
        if other.node is not each.node:
            raise InvalidDag(f"two DAGs named {each.name!r}", "have a schedule", "give one of them another name")
    return [by_name[name] for name in sorted(by_name)]
