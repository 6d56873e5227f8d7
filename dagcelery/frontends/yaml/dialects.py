"""The two ways to write a configuration, told apart by the keys of their steps; both say the same of a workflow.

One names for each step its `module` and `function`, its `dependencies`, and what it gives back as `return`. The other
one has `input` and `output`, and finds the function `step_fn` in the module ``project.workflow.step``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from dagcelery.frontends.yaml.entries import Entry, Place
from dagcelery.model.cron import wrong_with
from dagcelery.model.schedules import Schedule, wrong_timezone

WHOLE: Final = "result"
"""What the returned value of a step that names no outputs is called."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words of one way to write steps."""

    step_keys: tuple[str, ...]
    takes: str
    """The key of what a step takes."""
    gives: str
    """The key of what it gives."""
    value: str
    """The type of what it takes a value from."""
    order: str
    """The type of what it only waits for."""
    output: str
    """The key that names an output in a `source`."""


NAMED: Final = Dialect(
    ("name", "module", "function", "dependencies", "return"), "dependencies", "return", "param", "order", "param"
)
PLACED: Final = Dialect(("name", "input", "output"), "input", "output", "var", "start", "var")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output of another step that a step takes as `parameter`."""

    parameter: str
    step: Entry
    output: Entry


@dataclass(frozen=True, slots=True)
class Step:
    """What a configuration says of one step."""

    name: str
    module: Entry
    function: Entry
    values: tuple[Wanted, ...]
    after: tuple[Entry, ...]
    outputs: tuple[str, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Outline:
    """What a configuration says of one workflow: nothing was looked up yet."""

    project: str
    name: str
    schedule: Schedule | None
    steps: Mapping[str, Step]
    place: Place


def outlines(top: Entry) -> list[Outline]:
    """Return the workflows of a configuration. Raises InvalidConfig."""
    fields = top.fields(("project", "workflows"))
    project, workflows = fields["project"].name(), fields["workflows"].items("workflows")
    if not workflows:
        fields["workflows"].refuse("holds no workflow", "write at least one")
    dialect = _dialect(workflows)
    found: dict[str, Outline] = {}
    for entry in workflows:
        known = entry.fields(("name", "steps"), ("schedule", "timezone"))
        name = known["name"].name()
        _once(known["name"], "workflow", found)
        schedule = _schedule(known.get("schedule"), known.get("timezone"))
        steps = _steps(known["steps"], dialect, f"{project}.{name}")
        found[name] = Outline(project, name, schedule, steps, entry.place)
    return list(found.values())


def _schedule(cron: Entry | None, timezone: Entry | None) -> Schedule | None:
    """Return a schedule; nothing is none."""
    zone = None if timezone is None or timezone.value is None else timezone
    if cron is None or cron.value is None:
        if zone is not None:
            zone.refuse("stands without a schedule", "write schedule as well")
        return None
    if wrong := wrong_with(cron.text()):
        cron.refuse(f"{cron.value!r} {wrong[0]}", wrong[1])
    if zone is not None and (wrong := wrong_timezone(zone.text())):
        zone.refuse(f"{zone.value!r} {wrong[0]}", wrong[1])
    return Schedule(cron.text(), zone.text() if zone else None)


def _dialect(workflows: tuple[Entry, ...]) -> Dialect:
    seen: dict[Dialect, Entry] = {}
    for key, entry in _keys_of_steps(workflows):
        for dialect, other in ((NAMED, PLACED), (PLACED, NAMED)):
            if key in dialect.step_keys and key not in other.step_keys:
                seen.setdefault(dialect, entry)
                if other in seen:
                    first = seen[other].place
                    where = f"line {first.line}" if first.line else first.key
                    right = f"write steps with {', '.join(other.step_keys)}, or with {', '.join(dialect.step_keys)}"
                    entry.refuse(f"belongs to another way to write steps than the key in {where}", right)
    return next(iter(seen), NAMED)


def _keys_of_steps(workflows: tuple[Entry, ...]) -> Iterator[tuple[str, Entry]]:
    for workflow in workflows:
        steps = workflow.value.get("steps") if isinstance(workflow.value, Mapping) else None
        for step in steps.value if steps is not None and isinstance(steps.value, tuple) else ():
            if isinstance(step.value, Mapping):
                yield from step.value.items()


def _steps(entry: Entry, dialect: Dialect, package: str) -> dict[str, Step]:
    found: dict[str, Step] = {}
    for each in entry.items("steps"):
        step = _step(each, dialect, package)
        _once(each.fields(dialect.step_keys)["name"], "step", found)
        found[step.name] = step
    if not found:
        entry.refuse("holds no step", "write at least one")
    return found


def _step(entry: Entry, dialect: Dialect, package: str) -> Step:
    fields = entry.fields(dialect.step_keys)
    name = fields["name"].name()
    values: dict[str, Wanted] = {}
    after: list[Entry] = []
    for each in fields[dialect.takes].items("what the step takes"):
        kind = each.fields(("type", "source"), ("name",))
        if kind["type"].one_of((dialect.value, dialect.order)) == dialect.order:
            after += kind["source"].fields(("step",))["step"].items("steps")
        else:
            parameter = each.fields(("type", "name", "source"))["name"]
            _once(parameter, "parameter", values)
            source = kind["source"].fields(("step", dialect.output))
            values[parameter.text()] = Wanted(parameter.name(), source["step"], source[dialect.output])
    named = fields["name"].place
    module = fields.get("module") or Entry(f"{package}.{name}", named)
    function = fields.get("function") or Entry("step_fn", named)
    outputs = _outputs(fields[dialect.gives])
    return Step(name, module, function, tuple(values.values()), tuple(after), outputs, entry.place)


def _outputs(entry: Entry) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for each in entry.items("outputs"):
        _once(each, "output", found)
        found[each.name()] = each.text()
    return tuple(found)


def _once(entry: Entry, what: str, known: Mapping[str, object]) -> None:
    if entry.text() in known:
        entry.refuse(f"{what} {entry.value!r} is there twice", "give it another name")
