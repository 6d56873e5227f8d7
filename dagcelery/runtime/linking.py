"""A plan that was made while a run goes on is fitted into the run's program: its numbers become the program's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dagcelery.planner.plan import Body, FunctionSpec, Step


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a plan's own numbers are in the program: `functions` and `codecs` by place, bodies from `body` on."""

    body: int
    functions: Sequence[int]
    codecs: Sequence[int]


def linked(body: Body, numbers: Numbers) -> Body:
    """Return a body with the program's numbers."""
    codecs = numbers.codecs
    return replace(
        body,
        params=tuple([replace(param, codec=codecs[param.codec]) for param in body.params]),
        steps=tuple([_step(step, numbers) for step in body.steps]),
        outputs=tuple([(name, expr, codecs[codec]) for name, expr, codec in body.outputs]),
    )


def _step(step: Step, numbers: Numbers) -> Step:
    target = step.target
    if step.kind == "task":
        target = numbers.functions[target]
    elif step.kind == "dag":
        target += numbers.body
    codecs = numbers.codecs
    outputs = [out if codecs[out.codec] == out.codec else replace(out, codec=codecs[out.codec]) for out in step.outputs]
    return replace(step, target=target, outputs=tuple(outputs), options=_options(step.options, numbers))


def _options(options: Mapping[str, Any], numbers: Numbers) -> Mapping[str, Any]:
    if "hooks" in options:
        options = {**options, "hooks": {event: numbers.functions[at] for event, at in options["hooks"].items()}}
    if "dynamic" in options:
        made = options["dynamic"]
        made = made | {"f": numbers.functions[made["f"]], "c": numbers.codecs[made["c"]]}
        options = {**options, "dynamic": made}
    if "by" in options.get("cache", ()):
        cache = options["cache"]
        options = {**options, "cache": cache | {"by": numbers.functions[cache["by"]]}}
    return options


def topology_from(topology: Sequence[Mapping[str, Mapping[str, Any]]], body: int) -> list[dict[str, dict[str, Any]]]:
    """Return a plan's topology where its bodies are numbered from `body` on."""
    return [
        {
            name: {**entry, "b": entry["b"] + body} if entry.get("b", -1) >= 0 else dict(entry)
            for name, entry in steps.items()
        }
        for steps in topology
    ]


def identity(spec: FunctionSpec) -> tuple[object, ...]:
    """The identity of a function: those that travel by value are the same if their bytes are."""
    if spec.module:
        return "function", spec.module, spec.qualname, spec.hash
    return "function", spec.qualname, spec.hash, spec.blob or id(spec.live)


def codec_identity(spec: Mapping[str, Any]) -> object:
    """The identity of a codec."""
    if spec["k"] == "models":
        return ("codec", json.dumps({name: value for name, value in spec.items() if name != "live"}, sort_keys=True))
    return ("codec", id(spec["live"]) if "live" in spec else json.dumps(spec, sort_keys=True))
