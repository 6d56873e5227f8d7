"""A configuration as entries that know where they stand, in either of its two dialects, told apart by their keys.

One names for each step its `module` and `function`, its `dependencies`, and what it gives back as `return`. The other
one has `input` and `output`, and finds the function `step_fn` in the module ``project.workflow.step``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
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
class Odd:
    """A value of a kind that stands nowhere in a configuration, such as a number."""

    kind: str


Value: TypeAlias = "str | Odd | tuple[Entry, ...] | Mapping[str, Entry] | None"


def shown(text: str) -> str:
    """Return a text as errors show it: on one line, and not all of a long one."""
    return text if text.isprintable() and len(text) < 40 else repr(text[:40])


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: `line` counts from 1, and is None in a dict; `key` leads there from the top."""

    file: str
    line: int | None
    key: str = ""

    def below(self, key: str | int, line: int | None) -> Place:
        """Return the place of what stands here under a key or an index."""
        if isinstance(key, int):
            return Place(self.file, line, f"{self.key}[{key}]")
        return Place(self.file, line, f"{self.key}.{shown(key)}".removeprefix("."))

    def error(self, wrong: str, right: str = "") -> InvalidConfig:
        """Return the error that points here."""
        return InvalidConfig(self.file, self.line, self.key, wrong, right)


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and its place; each way to read it raises InvalidConfig where it is something else."""

    value: Value
    place: Place

    def fields(self, needed: Iterable[str], others: Iterable[str] = ()) -> Mapping[str, Entry]:
        """Return what stands under the keys of a mapping; none may be unknown, none of the `needed` missing."""
        if not isinstance(self.value, Mapping):
            self.refuse(f"is {self.kind}, where a mapping is due", f"write {', '.join(needed)} below it")
        known = (*needed, *others)
        for name, found in self.value.items():
            if name not in known:
                raise found.place.error("is not a known key", choices(name, known))
        for name in needed:
            if name not in self.value:
                self.refuse(f"the key {name!r} is missing", f"write it; there are {', '.join(known)}")
        return self.value

    def items(self, due: str) -> tuple[Entry, ...]:
        """Return the items of a list; nothing is an empty one."""
        if self.value is None:
            return ()
        if not isinstance(self.value, tuple):
            listed = shown(self.value) if isinstance(self.value, str) else "a, b"
            self.refuse(f"is {self.kind}, where a list of {due} is due", f"write [{listed}]")
        return self.value

    def text(self) -> str:
        """Return a text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            right = "put it into quotes" if isinstance(self.value, Odd) else "write one"
            self.refuse(f"is {self.kind}, where a text is due", right)
        return self.value

    def name(self) -> str:
        """Return a text that may name a workflow, a step, a parameter or an output."""
        if not is_name(self.text()):
            self.refuse(f"{self.value!r} is not a name", f"use {NAME_RULE}")
        return self.text()

    def one_of(self, known: Iterable[str]) -> str:
        """Return a text that is one of those that are `known`."""
        known = tuple(known)
        if self.text() not in known:
            self.refuse(f"{self.value!r} is none of {', '.join(known)}", choices(self.value, known))
        return self.text()

    def refuse(self, wrong: str, right: str = "") -> NoReturn:
        """Raise the error that points here."""
        raise self.place.error(wrong, right)

    @property
    def kind(self) -> str:
        """What it is, in words."""
        if self.value is None:
            return "nothing"
        if isinstance(self.value, Odd):
            return f"of type {self.value.kind}"
        if isinstance(self.value, str):
            return "a text" if self.value.strip() else "an empty text"
        return "a list" if isinstance(self.value, tuple) else "a mapping"


def told_at(place: Place, error: InvalidDag) -> InvalidConfig:
    """Return what a rule of the model says, pointing into the configuration."""
    return place.error(f"{error.culprit} {error.problem}".strip(), error.remedy)


class Counter:
    """Counts values while a configuration is read, and stops where it is too deep or too large."""

    def __init__(self) -> None:
        self._left = MOST

    def enter(self, place: Place, depth: int) -> None:
        """Count one value that is nested `depth` deep."""
        self._left -= 1
        if depth > DEEPEST:
            place = Place(place.file, place.line, f"{place.key[:60]}…")
            raise place.error(f"is nested more than {DEEPEST} deep", "no workflow needs that")
        if self._left < 0:
            raise place.error(f"is more than the {MOST:,} values that are read", "split it into several files")


def entry_of(value: object, place: Place, counter: Counter, depth: int = 0) -> Entry:
    """Return the entry of a value that is made of dicts, lists and texts."""
    counter.enter(place, depth)

    def inner(key: str | int, part: object) -> Entry:
        return entry_of(part, place.below(key, None), counter, depth + 1)

    if isinstance(value, Mapping):
        return Entry(_checked_keys(value, place, inner), place)
    if isinstance(value, list | tuple):
        return Entry(tuple(inner(at, part) for at, part in enumerate(value)), place)
    return Entry(value if value is None or isinstance(value, str) else Odd(type(value).__name__), place)


def _checked_keys(
    value: Mapping[object, object], place: Place, inner: Callable[[str, object], Entry]
) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for key, part in value.items():
        if not isinstance(key, str):
            raise place.error(f"has a key of type {type(key).__name__}", "keys are texts")
        found[key] = inner(key, part)
    return found


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
    if wrong := cron_fault(cron.text()):
        cron.refuse(f"{cron.value!r} {wrong[0]}", wrong[1])
    if zone is not None and (wrong := timezone_fault(zone.text())):
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
