"""A workflow of a configuration becomes a DAG with a name, and perhaps a schedule.

Its functions are found in modules, by dotted names or by the paths of files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from dagcelery.errors import InvalidConfig, InvalidDag, NotConfigured
from dagcelery.frontends.functional import TaskFunction
from dagcelery.frontends.yaml.entries import (
    WHOLE,
    Counter,
    Entry,
    Outline,
    Place,
    Step,
    Wanted,
    entry_of,
    outlines,
    told_at,
)
from dagcelery.importing import Unimportable, import_module, importing
from dagcelery.model.graph import DAG, Task
from dagcelery.model.nodes import FromPath, FromReturnValue, TaskOutput
from dagcelery.model.options import DagOptions, TaskOptions
from dagcelery.model.sources import DictOf, FromNodeOutput, Source
from dagcelery.text import choices

# A module's body raises what it likes, and a script without a guard may even end the program.


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
        module = import_module(name)
    except Unimportable as error:
        remedy = error.remedy if error.has_failed else f"put it below {roots[0]}, or on Python's path"
        raise entry.place.error(error.problem, remedy) from error
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
        with importing(entry.text()):
            spec.loader.exec_module(module)
    except Unimportable as error:
        del sys.modules[name]
        raise entry.place.error(error.problem, error.remedy) from error
    return module


@dataclass(frozen=True, slots=True)
class Workflow:
    """A DAG as `submit` and `invoke` take it; `schedule` is five fields of cron, or None.

    It returns the outputs that no step takes, ``{step: {output: value}}``.
    """

    name: str
    dag: DAG
    schedule: str | None = None

    def __dag__(self) -> DAG:
        """Return the DAG."""
        return self.dag

    def __call__(self) -> Any:
        """Run it in this process, step by step, and return its value."""
        from dagcelery import client

        return client.invoke(self.dag)


def load(
    config: str | os.PathLike[str] | Mapping[str, Any], *, root: str | os.PathLike[str] | None = None
) -> tuple[Workflow, ...]:
    """Return the workflows of a YAML file, or of a dict of the same shape.

    Modules are looked for below `root`; by default in the working directory, then in the file's own folder and in the
    one above it. They are imported. Raises InvalidConfig, which names file, line and key.
    """
    given = Path(os.path.abspath(root)) if root is not None else None
    if isinstance(config, Mapping):
        top = entry_of(config, Place("the configuration", None), Counter())
        roots = [given or Path.cwd()]
    else:
        top = _read(config)
        folder = Path(os.path.abspath(config)).parent
        roots = [given] if given else list(dict.fromkeys((Path.cwd(), folder, folder.parent)))
    return tuple([_workflow(outline, roots) for outline in outlines(top)])


def _read(path: str | os.PathLike[str]) -> Entry:
    if not isinstance(path, str | os.PathLike):
        raise InvalidConfig(
            "the configuration", None, "", f"is of type {type(path).__name__}", "give a path, or a dict"
        )
    try:
        from dagcelery.frontends.yaml.document import read
    except ModuleNotFoundError as error:
        remedy = "pip install 'dagcelery[yaml]', or give a dict"
        raise NotConfigured("reading a YAML file needs PyYAML, which is not installed", remedy) from error
    return read(path)


def _workflow(outline: Outline, roots: Sequence[Path]) -> Workflow:
    taken = {
        (_step_of(wanted.step, outline), _output_of(wanted, outline))
        for step in outline.steps.values()
        for wanted in step.values
    }
    order = {step.name: [_step_of(entry, outline) for entry in step.after] for step in outline.steps.values()}
    nodes = {step.name: _node(step, order[step.name], taken, roots) for step in outline.steps.values()}
    left = {
        step.name: [output for output in step.outputs if (step.name, output) not in taken]
        for step in outline.steps.values()
    }
    returns = _nested({name: {out: FromNodeOutput(name, out) for out in outs} for name, outs in left.items() if outs})
    try:
        options = DagOptions(schedule=outline.schedule)
        dag = DAG(nodes, name=f"{outline.project}:{outline.name}", returns=returns, options=options)
    except InvalidDag as error:
        raise told_at(outline.place, error) from error
    return Workflow(outline.name, dag, outline.schedule.cron if outline.schedule else None)


def _node(step: Step, after: Iterable[str], taken: set[tuple[str, str]], roots: Sequence[Path]) -> Task:
    func, options = function_of(step, roots)
    inputs = {wanted.parameter: FromNodeOutput(wanted.step.text(), wanted.output.text()) for wanted in step.values}
    try:
        return Task(func, inputs, _kept(step, taken), options=options, after=dict.fromkeys(after))
    except InvalidDag as error:
        raise told_at(step.place, error) from error


def _kept(step: Step, taken: set[tuple[str, str]]) -> dict[str, TaskOutput]:
    if len(step.outputs) > 1:
        return {name: FromPath((("key", at),)) for at, name in enumerate(step.outputs)}
    # What nobody asked for need not even be fit to be stored.
    names = step.outputs or ((WHOLE,) if (step.name, WHOLE) in taken else ())
    return {name: FromReturnValue() for name in names}


def _step_of(entry: Entry, outline: Outline) -> str:
    if entry.text() not in outline.steps:
        wrong = f"workflow {outline.name!r} has no step {entry.value!r}"
        entry.refuse(wrong, choices(entry.value, outline.steps))
    return entry.text()


def _output_of(wanted: Wanted, outline: Outline) -> str:
    step = outline.steps[wanted.step.text()]
    known = step.outputs or (WHOLE,)
    if wanted.output.text() not in known:
        wrong = f"step {step.name!r} has no output {wanted.output.value!r}"
        wanted.output.refuse(wrong, choices(wanted.output.value, known))
    return wanted.output.text()


def _nested(given: Mapping[str, Mapping[str, Source]]) -> DictOf:
    return DictOf(tuple([(name, DictOf(tuple(inner.items()))) for name, inner in given.items()]))
