"""What a command is about: ``pkg.mod:name`` becomes a DAG or a task, and texts become its parameters."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType, NoneType, UnionType
from typing import Any, TextIO, Union, get_args, get_origin

import click

from dagcelery import client
from dagcelery.cli.apps import prepare_modules
from dagcelery.frontends.functional import DagFunction, TaskFunction, build
from dagcelery.model import DAG, Buildable, Task
from dagcelery.model.annotations import bare, hints
from dagcelery.model.buildable import not_buildable
from dagcelery.text import nearest


@dataclass(frozen=True)
class Target:
    """A DAG or a task as its module holds it: decorated, or declared."""

    found: Buildable[..., Any] | DAG | Task

    def submit(
        self, params: dict[str, Any], *, key: str | None = None, deadline: float | None = None
    ) -> client.Run[Any]:
        """Start a run on the default client's workers, or find the one that has this key."""
        if isinstance(self.found, DagFunction):
            return self.found.options(key=key, deadline=deadline).submit(**params)
        if isinstance(self.found, TaskFunction) and key is None and deadline is None:
            return self.found.submit(**params)
        return client.submit(self.found, params, key=key, deadline=deadline)

    def invoke(self, params: dict[str, Any]) -> Any:
        """Run it in this process."""
        if isinstance(self.found, DagFunction | TaskFunction):
            return self.found.invoke(**params)
        return client.invoke(self.found, params)

    def dag(self, params: dict[str, Any]) -> DAG | Task:
        """Return the model; `params` matter only where some are static."""
        if isinstance(self.found, DagFunction):
            return build(self.found, **{name: params[name] for name in self.found.static if name in params})
        return client.dag_of(self.found)

    def node(self, name: str) -> Target:
        """Return a node within it, for its annotations; itself where static parameters say what is within."""
        if not name or (isinstance(self.found, DagFunction) and self.found.static):
            return self
        return Target(client.found_at(client.dag_of(self.found), name)[0])

    def annotations(self) -> dict[str, object]:
        """Return the annotations of its parameters by name; a declared DAG has none."""
        match self.found:
            case DagFunction() | TaskFunction():
                return hints(self.found.fn)
            case Task():
                return hints(self.found.func)
            case _:
                return {}


def load(ctx: click.Context | None, param: click.Parameter | None, text: str) -> Target:
    """Import the module of ``pkg.mod:name`` and find the DAG in it."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise click.BadParameter(f"'{text}' does not say which DAG of which module; write pkg.mod:name", ctx, param)
    if module.endswith(".py") or os.sep in module:
        dotted = os.path.normpath(module).removesuffix(".py").replace(os.sep, ".")
        raise click.BadParameter(f"'{module}' is a file; write its module's name: {dotted}:{name}", ctx, param)
    prepare_modules()
    try:
        found: Any = imported(module)
    except ModuleNotFoundError as error:
        raise click.BadParameter(f"{error}; it is neither here nor on Python's path", ctx, param) from error
    for part in name.split("."):
        if not hasattr(found, part):
            hint = nearest(part, [known for known in dir(found) if known[0] != "_"])
            raise click.BadParameter(f"module '{module}' has no '{name}'{hint and f'; {hint}'}", ctx, param)
        found = getattr(found, part)
    if not isinstance(found, DAG | Task | Buildable):
        raise not_buildable(found, "is neither a DAG nor a task", "decorate it with @dag or @task", f"'{text}'")
    return Target(found)


def imported(module: str) -> ModuleType:
    """Import a user's module. Raises ModuleNotFoundError if there is none, ClickException if it fails."""
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        # One that this module imports may be missing as well: that is the module's own error.
        is_itself = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        if is_itself:
            raise
        raise import_failed(module, error) from error


def import_failed(module: str, error: BaseException) -> click.ClickException:
    """Say in one sentence why a user's module cannot be imported, and where."""
    where, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if not name.startswith("<frozen"):
            where = f" ({name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return click.ClickException(f"module '{module}' cannot be imported: {type(error).__name__}: {error}{where}")


def parameters(target: Target, pairs: Iterable[str], file: TextIO | None) -> dict[str, Any]:
    """Return a run's parameters: those of a JSON file, and over them ``name=value`` pairs."""
    given: dict[str, Any] = {}
    if file is not None:
        try:
            given = json.load(file)
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(f"{file.name} is not JSON: {error}", param_hint="--params") from error
        if not isinstance(given, dict):
            raise click.BadParameter(f'{file.name} holds no object; write {{"name": value}}', param_hint="--params")
    annotations = target.annotations()
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"'{pair}' has no value; write {pair}=VALUE", param_hint="-p")
        given[name] = value(name, text, annotations.get(name))
    return given


def value(name: str, text: str, annotation: object) -> Any:
    """Read a parameter's value: raw text where it is annotated as such, else JSON."""
    kinds = get_args(bare(annotation)) if is_union(annotation) else (bare(annotation),)
    if str in kinds:
        return None if NoneType in kinds and text == "null" else text
    try:
        return json.loads(text)
    except RecursionError:
        raise click.BadParameter(f"{name} is nested too deeply for JSON; make it flatter", param_hint="-p") from None
    except ValueError:
        raise click.BadParameter(
            f"{name}={text} is not JSON; for a text write -p '{name}={json.dumps(text)}' "
            "or annotate the parameter as str",
            param_hint="-p",
        ) from None


def is_union(annotation: object) -> bool:
    """Whether an annotation is ``A | B`` or ``Optional[A]``."""
    return get_origin(bare(annotation)) in (Union, UnionType)
