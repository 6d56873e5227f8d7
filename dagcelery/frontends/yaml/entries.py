"""A configuration as entries that know their location, in either of its two dialects; their keys tell which.

One dialect names for each step its `module` and `function`, its `dependencies`, and its outputs as `return`. The other
one has `input` and `output`, and finds the function `step_fn` in the module ``project.workflow.step``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, TypeAlias

from dagcelery.errors import InvalidConfig, InvalidDag
from dagcelery.model.nodes import NAME_RULE, is_name
from dagcelery.model.schedules import Schedule, cron_fault, timezone_fault
from dagcelery.text import choices

DEEPEST: Final = 20
"""How deep a configuration may be nested; workflows need half of it."""

MOST: Final = 200_000
"""How many values a configuration may hold, those that aliases repeat counted each time."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A value of a kind that a configuration does not have, such as a number."""

    kind: str


Value: TypeAlias = "str | Unsupported | tuple[Entry, ...] | Mapping[str, Entry] | None"


def shown(text: str) -> str:
    """Return a text as errors show it: on one line, and not all of a long one."""
    return text if text.isprintable() and len(text) < 40 else repr(text[:40])


@dataclass(frozen=True, slots=True)
class Location:
    """Where a value is: `line` counts from 1, and is None in a dict; `key` leads there from the top."""

    file: str
    line: int | None
    key: str = ""

    def below(self, key: str | int, line: int | None) -> Location:
        """Return the location of the value under a key or an index."""
        if isinstance(key, int):
            return Location(self.file, line, f"{self.key}[{key}]")
        return Location(self.file, line, f"{self.key}.{shown(key)}".removeprefix("."))

    def error(self, problem: str, remedy: str = "") -> InvalidConfig:
        """Return the error that points here."""
        return InvalidConfig(self.file, self.line, self.key, problem, remedy)


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and its location. Each method that reads it raises InvalidConfig if it is something else."""

    value: Value
    location: Location

    def fields(self, needed: Iterable[str], others: Iterable[str] = ()) -> Mapping[str, Entry]:
        """Return the entries of a mapping by key; no key may be unknown, and none of the `needed` missing."""
        if not isinstance(self.value, Mapping):
            self.refuse(f"is {self.kind}, where a mapping is due", f"write {', '.join(needed)} below it")
        keys = (*needed, *others)
        for name, entry in self.value.items():
            if name not in keys:
                entry.refuse("is not a known key", choices(name, keys))
        for name in needed:
            if name not in self.value:
                self.refuse(f"the key {name!r} is missing", f"write it; there are {', '.join(keys)}")
        return self.value

    def items(self, due: str) -> tuple[Entry, ...]:
        """Return the items of a list; nothing counts as an empty one."""
        if self.value is None:
            return ()
        if not isinstance(self.value, tuple):
            listed = shown(self.value) if isinstance(self.value, str) else "a, b"
            self.refuse(f"is {self.kind}, where a list of {due} is due", f"write [{listed}]")
        return self.value

    def text(self) -> str:
        """Return a text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            remedy = "put it into quotes" if isinstance(self.value, Unsupported) else "write one"
            self.refuse(f"is {self.kind}, where a text is due", remedy)
        return self.value

    def name(self) -> str:
        """Return a text that may name a workflow, a step, a parameter or an output."""
        if not is_name(self.text()):
            self.refuse(f"{self.value!r} is not a name", f"use {NAME_RULE}")
        return self.text()

    def one_of(self, *texts: str) -> str:
        """Return a text that is one of `texts`."""
        if self.text() not in texts:
            self.refuse(f"{self.value!r} is not one of {', '.join(texts)}", choices(self.value, texts))
        return self.text()

    def refuse(self, problem: str, remedy: str = "") -> NoReturn:
        """Raise the error that points here."""
        raise self.location.error(problem, remedy)

    @property
    def kind(self) -> str:
        """What it is, in words."""
        if self.value is None:
            return "nothing"
        if isinstance(self.value, Unsupported):
            return f"of type {self.value.kind}"
        if isinstance(self.value, str):
            return "a text" if self.value.strip() else "an empty text"
        return "a list" if isinstance(self.value, tuple) else "a mapping"


def located(location: Location, error: InvalidDag) -> InvalidConfig:
    """Return the error of a rule of the model as one that points into the configuration."""
    return location.error(f"{error.culprit} {error.problem}".strip(), error.remedy)


class Counter:
    """Counts values while a configuration is read, and stops where it is too deep or too large."""

    def __init__(self) -> None:
        self._left = MOST

    def enter(self, location: Location, depth: int) -> None:
        """Count one value that is nested `depth` deep."""
        self._left -= 1
        if depth > DEEPEST:
            location = Location(location.file, location.line, f"{location.key[:60]}…")
            raise location.error(f"is nested more than {DEEPEST} deep", "no workflow needs that")
        if self._left < 0:
            raise location.error(f"is more than the {MOST:,} values that are read", "split it into several files")


def entry_of(value: object, location: Location, counter: Counter, depth: int = 0) -> Entry:
    """Return the entry of a value that is made of dicts, lists and texts."""
    counter.enter(location, depth)

    def inner(key: str | int, part: object) -> Entry:
        return entry_of(part, location.below(key, None), counter, depth + 1)

    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise location.error(f"has a key of type {type(key).__name__}", "keys are texts")
        return Entry({key: inner(key, part) for key, part in value.items()}, location)
    if isinstance(value, list | tuple):
        return Entry(tuple(inner(at, part) for at, part in enumerate(value)), location)
    return Entry(value if value is None or isinstance(value, str) else Unsupported(type(value).__name__), location)


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
        fields = entry.fields(("name", "steps"), ("schedule", "timezone"))
        name = fields["name"].name()
        _check_unique(fields["name"], "workflow", by_name)
        schedule = _schedule(fields.get("schedule"), fields.get("timezone"))
        steps = _steps(fields["steps"], dialect, f"{project}.{name}")
        by_name[name] = Outline(project, name, schedule, steps, entry.location)
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
