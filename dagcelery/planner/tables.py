"""Functions, serializers and options stand in a plan once each, and steps refer to them by number.

Errors are named as ``"module:qualname"`` and matched against the names of an error's classes, so that no worker
has to import them. Hooks are numbers of functions of the plan.

A task alone is planned as a DAG that has one node and takes the task's inputs as parameters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final, Protocol, TypeAlias

from dagcelery.model import (
    DAG,
    EMPTY,
    Cache,
    DagOptions,
    FromNodeOutput,
    FromParam,
    FromReturnValue,
    Literal,
    Retry,
    Serialize,
    Serializer,
    Source,
    Task,
    TaskOptions,
    TaskOutput,
    as_timeout,
)
from dagcelery.model.nodes import is_name
from dagcelery.model.sources import walk
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


def readers_of_parameters(dag: DAG, limit: int) -> dict[str, list[Reading]]:
    """Return the functions that read each parameter, with the names of their own parameters for it.

    No more than `limit` nodes are looked at: a DAG that has more cannot be planned.
    """
    found: dict[str, dict[tuple[int, str], Reading]] = {}
    looked_at = 0
    todo: list[tuple[DAG, Mapping[str, set[str]]]] = [(dag, {name: {name} for name in dag.inputs})]
    while todo and looked_at <= limit:
        inner, known = todo.pop()
        looked_at += len(inner.nodes)
        for node in inner.nodes.values():
            given = {key: _parameters(key, source, known) for key, source in node.inputs.items()}
            if isinstance(node, DAG):
                todo.append((node, given))
                continue
            for key, names in given.items():
                for name in sorted(names):
                    found.setdefault(name, {})[id(node.func), key] = (node.func, key, node.options.by_value)
    return {name: list(readings.values()) for name, readings in found.items()}


def _parameters(key: str, source: Source, known: Mapping[str, set[str]]) -> set[str]:
    """Return the parameters of the outermost DAG that a source reads."""
    read = [part.name or key for part in walk(source) if isinstance(part, FromParam)]
    return {name for one in read for name in known.get(one, ())}


def as_dag(task: Task) -> DAG:
    """Return a DAG around `task`, which runs once there even where its own DAG maps it.

    Parameters are called like the inputs. An input's literal or default value is its parameter's default.
    Outputs are those of the task; one that declares none gives back what it returns.
    """
    called = getattr(task.func, "__qualname__", type(task.func).__qualname__)
    plain = task.options.name or called.rpartition(".")[2]
    name = plain if is_name(plain) else "task"
    outputs = task.outputs or {"return_value": FromReturnValue()}
    params = {key: _param(source) for key, source in task.inputs.items()}
    node = Task(
        task.func,
        {key: FromParam(key) for key in params},
        outputs,
        task.runtime_options,
        options=task.options,
    )
    return DAG(
        {name: node},
        params,
        {key: FromNodeOutput(name, key) for key in outputs},
        name=f"{getattr(task.func, '__module__', '')}:{called}",
    )


def _param(source: Source) -> FromParam:
    if isinstance(source, Literal):
        return FromParam(default_value=source.value)
    serializer = getattr(source, "serializer", None)
    return FromParam(serializer=serializer, default_value=getattr(source, "default_value", EMPTY))


# A process that ends a piece over time raises nothing: these are what such an end is taken for.
_TIME_LIMIT: Final = frozenset(
    {
        "celery.exceptions:TimeLimitExceeded",
        "billiard.exceptions:TimeLimitExceeded",
        "builtins:TimeoutError",
        "builtins:Exception",
        "builtins:BaseException",
    }
)


def step_options(options: TaskOptions, table: FunctionTable, *, is_mapped: bool) -> dict[str, Any]:
    """Return the options of a task that were set, as JSON says them; hooks get their places in `table`."""
    timeout = as_timeout(options.timeout)
    share = 0.0 if options.on_item_failure == "skip" else options.min_success
    named = {"success": options.on_success, "failure": options.on_failure, "retry": options.on_retry}
    found = {
        "retry": None if options.retry is None else _retry(options.retry),
        "timeout": None if timeout is None else [timeout.soft, timeout.hard],
        "start_within": options.start_within,
        # All of them is what a step wants that says nothing.
        "min_success": share if is_mapped and share != 1 else None,
        "max_concurrent": options.max_concurrent,
        "cache": None if options.cache is None else _cache(options.cache, table, options.by_value),
        "hooks": _hooks(named, table, options.by_value),
    }
    return {name: value for name, value in found.items() if value is not None}


def dynamic_options(driver: Callable[..., object], table: FunctionTable, queue: str, codec: int) -> dict[str, Any]:
    """Return what lets workers plan what a task returns: its driver's place in `table`, and what holds where nothing
    else is said, the queue and the codec.
    """
    return {"dynamic": {"driver": table.number_of_driver(driver), "queue": queue, "codec": codec}}


def plan_options(options: DagOptions, table: FunctionTable) -> dict[str, Any]:
    """Return the options of the DAG that is submitted, as far as they were set and concern workers or the store."""
    found = {
        "fail_fast": None if options.fail_fast else False,
        "max_active_runs": options.max_active_runs,
        "keep": None if options.keep == "all" else options.keep,
        "hooks": _hooks({"success": options.on_success, "failure": options.on_failure}, table, ()),
    }
    return {name: value for name, value in found.items() if value is not None}


def is_time_limit_retried(retry: dict[str, Any]) -> bool:
    """Whether another attempt follows one that was ended by its hard time limit."""
    return not _TIME_LIMIT.isdisjoint(retry["on"]) and _TIME_LIMIT.isdisjoint(retry["give_up_on"])


@lru_cache(maxsize=1000)
def _retry(retry: Retry) -> dict[str, Any]:
    return {
        "max": retry.max_attempts,
        "base": retry.wait.base,
        "factor": retry.wait.factor,
        "cap": retry.wait.maximum,
        "jitter": retry.wait.jitter,
        "on": [_name(kind) for kind in retry.on],
        "give_up_on": [_name(kind) for kind in retry.give_up_on],
    }


def _cache(cache: Cache, table: FunctionTable, by_value: tuple[str, ...]) -> dict[str, Any]:
    said: dict[str, Any] = {"ttl": cache.ttl, "max": cache.max_bytes}
    if isinstance(cache.key, str):
        said["key"] = cache.key
    elif cache.key is not None:
        said["key_function"] = table.number(cache.key, by_value)
    return said


def _name(kind: type[BaseException]) -> str:
    # A module that is run as a script has another name where it is imported.
    return f"{functions.describe(kind)['module'] or kind.__module__}:{kind.__qualname__}"


def _hooks(
    named: dict[str, Callable[..., object] | None], table: FunctionTable, by_value: tuple[str, ...]
) -> dict[str, int] | None:
    found = {name: table.number(hook, by_value) for name, hook in named.items() if hook is not None}
    return found or None
