"""The YAML frontend: workflows in a configuration file, or in a dict of the same shape, become DAGs.

Each has a name, and perhaps a schedule; its functions are looked up in modules, which are named by dotted names or by
the paths of files. There are two dialects, and their keys tell which. One names for each step its `module` and
`function`, its `dependencies`, and its outputs as `return`. The other one has `input` and `output`, and finds the
function `step_fn` in the module ``project.workflow.step``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional import TaskFunction
from dagcelery.frontends.yaml.document import Counter, Entry, Location, entry_of, located, read
from dagcelery.hooks import mail
from dagcelery.importing import Unimportable, import_module, importing
from dagcelery.model.graph import DAG, Task
from dagcelery.model.nodes import FromPath, FromReturnValue, TaskOutput
from dagcelery.model.options import DagOptions, Hook, TaskOptions
from dagcelery.model.schedules import Schedule, cron_fault, timezone_fault
from dagcelery.model.sources import DictOf, FromNodeOutput
from dagcelery.text import choices

__all__ = ["ConfiguredWorkflow", "load"]

HOOKS: Final = ("on_success", "on_failure")

WHOLE: Final = "result"
"""The name of the returned value of a step that names no outputs."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words of one way to write steps."""

    step_keys: tuple[str, ...]
    takes: str
    """The key of a step's inputs."""
    gives: str
    """The key of its outputs."""
    value: str
    """The type of an input that is a value."""
    order: str
    """The type of an input that is only waited for."""
    output: str
    """The key that names an output in a `source`."""


NAMED: Final = Dialect(
    ("name", "module", "function", "dependencies", "return"), "dependencies", "return", "param", "order", "param"
)

PLACED: Final = Dialect(("name", "input", "output"), "input", "output", "var", "start", "var")


@dataclass(frozen=True, slots=True)
class StepInput:
    """An output of another step that a step takes as `parameter`."""

    parameter: str
    step: Entry
    output: Entry


@dataclass(frozen=True, slots=True)
class ConfiguredStep:
    """One step of a configuration."""

    name: str
    module: Entry
    function: Entry
    inputs: tuple[StepInput, ...]
    after: tuple[Entry, ...]
    outputs: tuple[str, ...]
    location: Location


@dataclass(frozen=True, slots=True)
class Outline:
    """One workflow of a configuration, before its modules are imported."""

    project: str
    name: str
    schedule: Schedule | None
    hooks: Mapping[str, Hook]
    steps: Mapping[str, ConfiguredStep]
    location: Location


def outlines(top: Entry) -> list[Outline]:
    """Return the workflows of a configuration.

    Raises InvalidConfig.
    """
    fields = top.fields(("project", "workflows"))
    project, workflows = fields["project"].name(), fields["workflows"].items("workflows")
    if not workflows:
        fields["workflows"].refuse("holds no workflow", "write at least one")
    dialect = _dialect(workflows)
    by_name: dict[str, Outline] = {}
    for entry in workflows:
        fields = entry.fields(("name", "steps"), ("schedule", "timezone", *HOOKS))
        name = fields["name"].name()
        _check_unique(fields["name"], "workflow", by_name)
        schedule = _schedule(fields.get("schedule"), fields.get("timezone"))
        steps = _steps(fields["steps"], dialect, f"{project}.{name}")
        by_name[name] = Outline(project, name, schedule, _hooks(fields), steps, entry.location)
    return list(by_name.values())


def _schedule(cron: Entry | None, timezone: Entry | None) -> Schedule | None:
    """Return a schedule, if there is one."""
    zone = None if timezone is None or timezone.value is None else timezone
    if cron is None or cron.value is None:
        if zone is not None:
            zone.refuse("comes without a schedule", "write schedule as well")
        return None
    if fault := cron_fault(cron.text()):
        cron.refuse(f"{cron.value!r} {fault[0]}", fault[1])
    if zone is not None and (fault := timezone_fault(zone.text())):
        zone.refuse(f"{zone.value!r} {fault[0]}", fault[1])
    return Schedule(cron.text(), zone.text() if zone else None)


def _hooks(fields: Mapping[str, Entry]) -> dict[str, Hook]:
    """Return what is called when a workflow has ended: a mail is sent to an address, or to several."""
    found: dict[str, Hook] = {}
    for name in HOOKS:
        if name in fields and fields[name].value is not None:
            entry = fields[name].fields(("mail",))["mail"]
            several = isinstance(entry.value, tuple)
            try:
                found[name] = mail([each.text() for each in entry.items("addresses")] if several else entry.text())
            except InvalidDag as error:
                raise located(entry.location, error) from error
    return found


def _dialect(workflows: tuple[Entry, ...]) -> Dialect:
    seen: dict[Dialect, Entry] = {}
    for key, entry in _keys_of_steps(workflows):
        for dialect, other in ((NAMED, PLACED), (PLACED, NAMED)):
            if key in dialect.step_keys and key not in other.step_keys:
                seen.setdefault(dialect, entry)
                if other in seen:
                    first = seen[other].location
                    where = f"line {first.line}" if first.line else first.key
                    remedy = f"write steps with {', '.join(other.step_keys)}, or with {', '.join(dialect.step_keys)}"
                    entry.refuse(f"belongs to another way to write steps than the key in {where}", remedy)
    return next(iter(seen), NAMED)


def _keys_of_steps(workflows: tuple[Entry, ...]) -> Iterator[tuple[str, Entry]]:
    for workflow in workflows:
        steps = workflow.value.get("steps") if isinstance(workflow.value, Mapping) else None
        for step in steps.value if steps is not None and isinstance(steps.value, tuple) else ():
            if isinstance(step.value, Mapping):
                yield from step.value.items()


def _steps(entry: Entry, dialect: Dialect, package: str) -> dict[str, ConfiguredStep]:
    steps: dict[str, ConfiguredStep] = {}
    for each in entry.items("steps"):
        step = _step(each, dialect, package)
        _check_unique(each.fields(dialect.step_keys)["name"], "step", steps)
        steps[step.name] = step
    if not steps:
        entry.refuse("holds no step", "write at least one")
    return steps


def _step(entry: Entry, dialect: Dialect, package: str) -> ConfiguredStep:
    fields = entry.fields(dialect.step_keys)
    name = fields["name"].name()
    inputs: dict[str, StepInput] = {}
    after: list[Entry] = []
    for each in fields[dialect.takes].items("inputs"):
        kind = each.fields(("type", "source"), ("name",))
        if kind["type"].one_of(dialect.value, dialect.order) == dialect.order:
            after += kind["source"].fields(("step",))["step"].items("steps")
        else:
            parameter = each.fields(("type", "name", "source"))["name"]
            _check_unique(parameter, "parameter", inputs)
            source = kind["source"].fields(("step", dialect.output))
            inputs[parameter.text()] = StepInput(parameter.name(), source["step"], source[dialect.output])
    named = fields["name"].location
    module = fields.get("module") or Entry(f"{package}.{name}", named)
    function = fields.get("function") or Entry("step_fn", named)
    outputs: dict[str, None] = {}
    for each in fields[dialect.gives].items("outputs"):
        _check_unique(each, "output", outputs)
        outputs[each.name()] = None
    return ConfiguredStep(name, module, function, tuple(inputs.values()), tuple(after), tuple(outputs), entry.location)


def _check_unique(entry: Entry, what: str, others: Mapping[str, object]) -> None:
    if entry.text() in others:
        entry.refuse(f"{what} {entry.value!r} is there twice", "give it another name")


# A module's body raises what it likes, and a script without a guard may even end the program.


def function_of(step: ConfiguredStep, roots: Sequence[Path]) -> tuple[Callable[..., Any], TaskOptions]:
    """Return a step's function and its options, those of a function that `@task` decorated among them.

    Modules are looked for in the folders `roots` before Python's own path. One that is named by its file travels by
    value, since no worker could import it by a name.

    Raises InvalidConfig.
    """
    name = step.module.text()
    by_path = name.endswith(".py") or "/" in name
    module = _from_file(step.module, roots) if by_path else _imported(step.module, roots)
    function_name = step.function.text()
    function = getattr(module, function_name, None)
    travelling = (module.__name__,) if by_path else ()
    if isinstance(function, TaskFunction):
        (node,) = function.__dag__().nodes.values()
        if isinstance(node, Task):
            options = function._options  # those of its node are for a task that runs by itself
            return node.func, replace(options, by_value=(*options.by_value, *travelling))
    if function is None:
        candidates = [each for each, value in vars(module).items() if callable(value) and each[0] != "_"]
        step.function.refuse(f"module {name!r} has no {function_name!r}", choices(function_name, candidates))
    if not callable(function) or hasattr(function, "__dag__"):
        step.function.refuse(f"{function_name!r} of module {name!r} is not a function", "name a function, or a @task")
    return function, TaskOptions(by_value=travelling)


def _imported(entry: Entry, roots: Sequence[Path]) -> ModuleType:
    name = entry.text()
    if not all(part.isidentifier() for part in name.split(".")):
        entry.refuse(f"{name!r} is not a module", 'write "package.module", or the path of a file that ends in .py')
    home = next((root for root in roots if _has_module(root, name)), None)
    if home is not None and str(home) not in sys.path:
        sys.path.insert(0, str(home))
    try:
        module = import_module(name)
    except Unimportable as error:
        remedy = error.remedy if error.has_failed else f"put it below {roots[0]}, or on Python's path"
        raise entry.location.error(error.problem, remedy) from error
    if home is not None and not str(getattr(module, "__file__", None) or home).startswith(str(home)):
        remedy = "give one of them another name: in one process a name means one module"
        entry.refuse(f"module {name!r} was imported from {module.__file__} before", remedy)
    return module


def _has_module(root: Path, name: str) -> bool:
    path = root.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.joinpath("__init__.py").is_file()


def _from_file(entry: Entry, roots: Sequence[Path]) -> ModuleType:
    try:
        file = next((path for root in roots if (path := root / entry.text()).is_file()), None)
    except (OSError, ValueError):  # longer than a path may be, or with a NUL
        file = None
    if file is None or file.suffix != ".py":
        entry.refuse(f"the file {entry.text()!r} does not exist", f"name one that ends in .py, below {roots[0]}")
    file = file.resolve()
    # The same file gets the same name in every process, and two files of one name get two.
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
        raise entry.location.error(error.problem, error.remedy) from error
    return module


@dataclass(frozen=True, slots=True)
class ConfiguredWorkflow:
    """A DAG for `submit` and `invoke`; `schedule` is five fields of cron, or None.

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
) -> tuple[ConfiguredWorkflow, ...]:
    """Return the workflows of a YAML file, or of a dict of the same shape.

    Modules are looked for below `root`; by default in the working directory, then in the file's own folder and in the
    one above it. They are imported.

    Raises InvalidConfig, which names file, line and key.
    """
    chosen = None if root is None else Path(os.path.abspath(root))
    if isinstance(config, Mapping):
        top = entry_of(config, Location("the configuration", None), Counter())
        roots = [chosen or Path.cwd()]
    else:
        top = read(config)
        folder = Path(os.path.abspath(config)).parent
        roots = [chosen] if chosen else list(dict.fromkeys((Path.cwd(), folder, folder.parent)))
    return tuple([_workflow(outline, roots) for outline in outlines(top)])


def _workflow(outline: Outline, roots: Sequence[Path]) -> ConfiguredWorkflow:
    steps = outline.steps.values()
    taken = {(_step_of(each.step, outline), _output_of(each, outline)) for step in steps for each in step.inputs}
    order = {step.name: [_step_of(entry, outline) for entry in step.after] for step in steps}
    nodes = {step.name: _node(step, order[step.name], taken, roots) for step in steps}
    left = {step.name: [output for output in step.outputs if (step.name, output) not in taken] for step in steps}
    by_step = [
        (name, DictOf(tuple([(output, FromNodeOutput(name, output)) for output in outputs])))
        for name, outputs in left.items()
        if outputs
    ]
    returns = DictOf(tuple(by_step))
    try:
        hooks = outline.hooks
        options = DagOptions(
            schedule=outline.schedule, on_success=hooks.get("on_success"), on_failure=hooks.get("on_failure")
        )
        dag = DAG(nodes, name=f"{outline.project}:{outline.name}", returns=returns, options=options)
    except InvalidDag as error:
        raise located(outline.location, error) from error
    return ConfiguredWorkflow(outline.name, dag, outline.schedule.cron if outline.schedule else None)


def _node(step: ConfiguredStep, after: Iterable[str], taken: set[tuple[str, str]], roots: Sequence[Path]) -> Task:
    func, options = function_of(step, roots)
    inputs = {each.parameter: FromNodeOutput(each.step.text(), each.output.text()) for each in step.inputs}
    try:
        return Task(func, inputs, _outputs_of(step, taken), options=options, after=dict.fromkeys(after))
    except InvalidDag as error:
        raise located(step.location, error) from error


def _outputs_of(step: ConfiguredStep, taken: set[tuple[str, str]]) -> dict[str, TaskOutput]:
    if len(step.outputs) > 1:
        return {name: FromPath((("key", at),)) for at, name in enumerate(step.outputs)}
    # A value that no step takes need not even be fit to be stored.
    names = step.outputs or ((WHOLE,) if (step.name, WHOLE) in taken else ())
    return {name: FromReturnValue() for name in names}


def _step_of(entry: Entry, outline: Outline) -> str:
    if entry.text() not in outline.steps:
        problem = f"workflow {outline.name!r} has no step {entry.value!r}"
        entry.refuse(problem, choices(entry.value, outline.steps))
    return entry.text()


def _output_of(read: StepInput, outline: Outline) -> str:
    step = outline.steps[read.step.text()]
    outputs = step.outputs or (WHOLE,)
    if read.output.text() not in outputs:
        problem = f"step {step.name!r} has no output {read.output.value!r}"
        read.output.refuse(problem, choices(read.output.value, outputs))
    return read.output.text()
