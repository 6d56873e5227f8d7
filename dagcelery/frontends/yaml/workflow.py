"""A workflow of a configuration: a DAG with a name, and perhaps a schedule."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagcelery.errors import InvalidConfig, InvalidDag, NotConfigured
from dagcelery.frontends.yaml.dialects import WHOLE, Outline, Step, Wanted, outlines
from dagcelery.frontends.yaml.entries import Counter, Entry, Place, entry_of, told_at
from dagcelery.frontends.yaml.functions import function_of
from dagcelery.model.graph import DAG, Task
from dagcelery.model.options import DagOptions
from dagcelery.model.outputs import FromPath, FromReturnValue, TaskOutput
from dagcelery.model.sources import DictOf, FromNodeOutput, Source
from dagcelery.text import choices


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
