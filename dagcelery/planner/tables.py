"""Functions and serializers stand in a plan once each, and steps refer to them by number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final, Protocol, TypeAlias

from dagcelery.model import Serialize, Serializer, TaskOptions, TaskOutput
from dagcelery.objects import identity
from dagcelery.payload import functions, models
from dagcelery.planner.plan import FunctionSpec, Path

GENERAL: Final = frozenset({"json", "models", "pickle", "dill", "msgpack"})
"""Codecs that take a list of whatever they take."""
# These compare by what they call; of other callables only the very object is the same.
_COMPARABLE: Final = (FunctionType, MethodType, BuiltinFunctionType)
Reading: TypeAlias = tuple[Callable[..., Any], str, tuple[str, ...]]


class Describe(Protocol):
    """Says how another process finds a function."""

    def __call__(self, func: Callable[..., Any], *, by_value: tuple[str, ...]) -> functions.Description: ...


class FunctionTable:
    """The functions of a plan in the order of their first use; `describe` says how another process finds each."""

    def __init__(self, describe: Describe = functions.describe) -> None:
        self._describe = describe
        self.specs: list[FunctionSpec] = []
        self._numbers: dict[Any, int] = {}

    def number(self, func: Callable[..., Any], by_value: tuple[str, ...]) -> int:
        """Return the number of `func`, described the first time that it is seen."""
        key = (func if isinstance(func, _COMPARABLE) else id(func), by_value)
        if key not in self._numbers:
            self._numbers[key] = len(self.specs)
            self.specs.append(FunctionSpec(**self._describe(func, by_value=by_value)))
        return self._numbers[key]

    def number_of_driver(self, driver: Callable[..., Any]) -> int:
        """Return the number of what calls a dynamic task: part of this library, so nobody compares its code."""
        if driver not in self._numbers:
            self._numbers[driver] = len(self.specs)
            self.specs.append(replace(FunctionSpec(**self._describe(driver, by_value=())), hash=""))
        return self._numbers[driver]


class CodecTable:
    """The serializers of a plan; number 0 is the default of the DAG."""

    def __init__(self, default: Mapping[str, Any], describe: Describe = functions.describe) -> None:
        self._describe = describe
        self._named: dict[tuple[int, str], tuple[type, ...]] = {}
        self.specs: list[Mapping[str, Any]] = [default]
        self._numbers: dict[Any, int] = {_key(default): 0}

    def number(self, serializer: Serializer | None, default: int = 0) -> int:
        """Return the number of `serializer`, that of the default where there is none."""
        return default if serializer is None else self.add(codec_spec(serializer))

    def add(self, spec: Mapping[str, Any]) -> int:
        """Return the number of the codec that `spec` describes."""
        key = _key(spec)
        if key not in self._numbers:
            self._numbers[key] = len(self.specs)
            self.specs.append(spec)
        return self._numbers[key]

    def of_models(self, readings: Iterable[Reading], default: int) -> int:
        """Return a codec for values with objects of the classes that annotations name, if JSON is what is left out.

        Each reading is a function, the name of a parameter or "return", and what travels by value with it.
        """
        if self.specs[default]["k"] != "json":
            return default
        classes: dict[type, None] = {}
        of: list[list[str]] = []
        along: dict[str, None] = {}
        for func, name, by_value in readings:
            if named := self._named_by(func, name):
                described = self._describe(func, by_value=by_value)
                classes |= dict.fromkeys(named)
                along |= dict.fromkeys(by_value)
                of.append([described["module"], described["qualname"], name])
        if not of:
            return default
        if not all(module for module, _, _ in of):
            return self.add({"k": "object", "live": models.AsModels.of(list(classes), list(along))})
        return self.add({**self.specs[default], "k": "models", "of": of, "live": tuple(classes)})

    def _named_by(self, func: Callable[..., Any], name: str) -> tuple[type, ...]:
        key = id(func), name
        if key not in self._named:
            self._named[key] = models.named_by(func, name)
        return self._named[key]

    def of_composite(self, parts: set[int], default: int, *, objects: bool) -> int:
        """Return a codec for a value put together from parts with these codecs; `objects` need pickle."""
        # A serializer for one kind of object says nothing about lists of them: pickle takes all.
        found = [self.specs[part] for part in sorted(parts)]
        kinds = {spec["k"] for spec in found}
        if "models" in kinds and kinds <= {"json", "models"} and not objects and self.specs[default]["k"] == "json":
            own = [spec for spec in found if spec["k"] == "models"]
            of = [list(one) for one in dict.fromkeys(tuple(one) for spec in own for one in spec["of"])]
            live = tuple(dict.fromkeys(kind for spec in own for kind in spec["live"]))
            return self.add({**self.specs[default], "k": "models", "of": of, "live": live})
        special = any(self.specs[part]["k"] != "json" for part in parts if part != default)
        if special or (objects and self.specs[default]["k"] == "json"):
            return self.add({"k": "pickle"})
        return default


def codec_spec(serializer: Serializer) -> Mapping[str, Any]:
    """Return the description of a serializer as plans hold it; unknown ones stay objects until encoded.

    Ours are recognised by their names, since the planner imports nothing of payload that touches values.
    """
    kind = type(serializer)
    if kind.__module__ == "dagcelery.payload.codecs":
        if kind.__name__ == "AsPickle":
            return {"k": "pickle"}
        if kind.__name__ == "AsJSON":
            given = [(name, getattr(serializer, name)) for name in ("indent", "allow_nan")]
            # 0 is an indentation, so that only the very False says nothing.
            said = {name: value for name, value in given if value is not None and value is not False}
            return {"k": "json", **said}
    if kind.__module__.startswith("dagcelery.payload.serializers."):
        known: Any = serializer
        options = {field.name: getattr(known, field.name) for field in fields(known)}
        return {"k": known.kind, **options}
    return {"k": "object", "live": serializer}


def output_serializer(output: TaskOutput, options: TaskOptions) -> Serializer | None:
    """Return the serializer of a task's output: its own, else the one of its task for this part."""
    if output.serializer is not None or options.serializer is None:
        return output.serializer
    if isinstance(options.serializer, Serialize):
        return _part_of(options.serializer, output.steps)
    return options.serializer


def _part_of(serialize: Serialize, path: Path) -> Serializer | None:
    # A serializer of out["a"] says nothing about what lies within that, out["a"]["b"].
    found = serialize.sub_output(str(path[0][1])) if len(path) == 1 else None
    return found or serialize.root


def _key(spec: Mapping[str, Any]) -> Any:
    if spec["k"] != "object":
        return json.dumps({name: value for name, value in spec.items() if name != "live"}, sort_keys=True)
    live = spec["live"]
    try:
        hash(live)
    except TypeError:
        return id(live)
    # Equal ones may hold other values, and write something else; without an identity only the very object is the same.
    return live, identity(live) or id(live)
