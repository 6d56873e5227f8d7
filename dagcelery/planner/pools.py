"""Functions, serializers and options stand in a plan once each, and steps refer to them by number.

Errors are named as ``"module:qualname"`` and matched against the names of an error's classes, so that no worker
has to import them. A hook is the number of a function of the plan, and the keyword arguments that it has besides what
it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache, partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final, Protocol, TypeAlias, cast

from dagcelery.model.graph import DAG, readings
from dagcelery.model.nodes import TaskOutput
from dagcelery.model.options import POLICIES, DagOptions, TaskOptions, least_success
from dagcelery.model.serializers import Serialize, Serializer
from dagcelery.model.sources import FromParam
from dagcelery.payload import functions, models
from dagcelery.planner.plan import FunctionSpec, codec_key, literal

GENERAL: Final = frozenset({"json", "models", "pickle", "dill", "msgpack"})
"""Codecs that take a list of any values that they take."""
OWN_HOOKS: Final = "dagcelery.hooks"
"""The module of hooks that are part of this library."""

# These are equal if they call the same; of other callables only the very object is the same.
_COMPARABLE: Final = (FunctionType, MethodType, BuiltinFunctionType)

Reading: TypeAlias = tuple[Callable[..., Any], str, tuple[str, ...]]


class Describe(Protocol):
    """Says how another process finds a function."""

    def __call__(self, func: Callable[..., Any], *, by_value: tuple[str, ...]) -> functions.Description: ...


class FunctionPool:
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

    def number_of_ours(self, func: Callable[..., Any]) -> int:
        """Return the number of a function of this library, such as a task's driver, whose code is not compared."""
        if func not in self._numbers:
            self._numbers[func] = len(self.specs)
            self.specs.append(replace(FunctionSpec(**self._describe(func, by_value=())), hash=""))
        return self._numbers[func]

    def hook(self, hook: Callable[..., Any], by_value: tuple[str, ...]) -> list[Any]:
        """Return a hook's number and its keyword arguments: those of a partial of a named function, if they are data.

        Any other partial travels by value, as a whole.
        """
        func: Callable[..., Any] = hook
        given: Mapping[str, Any] = {}
        if isinstance(hook, partial) and not hook.args and self._are_data(hook, by_value):
            func, given = hook.func, hook.keywords
        is_ours = getattr(func, "__module__", None) == OWN_HOOKS
        return [self.number_of_ours(func) if is_ours else self.number(func, by_value), given]

    def _are_data(self, hook: partial[Any], by_value: tuple[str, ...]) -> bool:
        return literal(hook.keywords)[0] == "lit" and bool(self._describe(hook.func, by_value=by_value)["module"])


class CodecPool:
    """The serializers of a plan; number 0 is the default of the DAG."""

    def __init__(self, default: Mapping[str, Any], describe: Describe = functions.describe) -> None:
        self._describe = describe
        self._named: dict[tuple[int, str], tuple[type, ...]] = {}
        self.specs: list[Mapping[str, Any]] = [default]
        self._numbers: dict[Any, int] = {codec_key(default): 0}

    def number(self, serializer: Serializer | None, default: int = 0) -> int:
        """Return the number of `serializer`, that of the default where there is none."""
        return default if serializer is None else self.add(codec_spec(serializer))

    def add(self, spec: Mapping[str, Any]) -> int:
        """Return the number of the codec that `spec` describes."""
        key = codec_key(spec)
        if key not in self._numbers:
            self._numbers[key] = len(self.specs)
            self.specs.append(spec)
        return self._numbers[key]

    def of_models(self, readings: Iterable[Reading], default: int) -> int:
        """Return a codec for values with objects of the classes that annotations name, where the default is JSON.

        Each reading is a function, the name of a parameter or "return", and what travels by value with it.
        """
        if self.specs[default]["kind"] != "json":
            return default
        classes: dict[type, None] = {}
        annotations: list[list[str]] = []
        modules: dict[str, None] = {}
        for func, name, by_value in readings:
            if named := self._named_by(func, name):
                described = self._describe(func, by_value=by_value)
                classes |= dict.fromkeys(named)
                modules |= dict.fromkeys(by_value)
                annotations.append([described["module"], described["qualname"], name])
        if not annotations:
            return default
        if not all(module for module, _, _ in annotations):
            return self.add({"kind": "object", "live": models.AsModels.of(list(classes), list(modules))})
        return self.add({**self.specs[default], "kind": "models", "annotations": annotations, "live": tuple(classes)})

    def _named_by(self, func: Callable[..., Any], name: str) -> tuple[type, ...]:
        key = id(func), name
        if key not in self._named:
            self._named[key] = models.named_by(func, name)
        return self._named[key]

    def of_composite(self, parts: set[int], default: int, *, objects: bool) -> int:
        """Return a codec for a value put together from parts with these codecs; `objects` need pickle."""
        # A serializer for one kind of object says nothing about lists of them: pickle takes all.
        specs = [self.specs[part] for part in sorted(parts)]
        kinds = {spec["kind"] for spec in specs}
        is_json = self.specs[default]["kind"] == "json"
        if "models" in kinds and kinds <= {"json", "models"} and not objects and is_json:
            of_models = [spec for spec in specs if spec["kind"] == "models"]
            annotations = dict.fromkeys(tuple(each) for spec in of_models for each in spec["annotations"])
            classes = dict.fromkeys(each for spec in of_models for each in spec["live"])
            together = {"annotations": list(map(list, annotations)), "live": tuple(classes)}
            return self.add({**self.specs[default], "kind": "models", **together})
        is_special = any(self.specs[part]["kind"] != "json" for part in parts if part != default)
        return self.add({"kind": "pickle"}) if is_special or (objects and is_json) else default


def codec_spec(serializer: Serializer) -> Mapping[str, Any]:
    """Return the description of a serializer as plans hold it; unknown ones stay objects until encoded.

    Ours are recognised by their names, since the planner imports nothing of payload that touches values.
    """
    serializer = getattr(
        serializer, "carried_as", serializer
    )  # where one of another library does what one of ours does
    kind = type(serializer)
    if kind.__module__ == "dagcelery.payload.codecs":
        if kind.__name__ == "AsPickle":
            return {"kind": "pickle"}
        if kind.__name__ == "AsJSON":
            options = {name: getattr(serializer, name) for name in ("indent", "allow_nan")}
            # 0 is an indentation, unlike False.
            return {
                "kind": "json",
                **{k: value for k, value in options.items() if value is not None and value is not False},
            }
    if kind.__module__.startswith("dagcelery.payload.formats."):
        ours: Any = serializer
        return {"kind": ours.kind, **{field.name: getattr(ours, field.name) for field in fields(ours)}}
    return {"kind": "object", "live": serializer}


def output_serializer(output: TaskOutput, options: TaskOptions) -> Serializer | None:
    """Return the serializer of a task's output: its own, else the one of its task for this part."""
    if output.serializer is not None or options.serializer is None:
        return output.serializer
    if isinstance(options.serializer, Serialize):
        return options.serializer.at(output.steps)
    return options.serializer


def readers_of_parameters(dag: DAG, limit: int) -> dict[str, list[Reading]]:
    """Return the functions that read each parameter, with the names of their own parameters for it.

    No more than `limit` nodes are looked at: a DAG that has more cannot be planned.
    """
    found: dict[str, dict[tuple[int, str], Reading]] = {}
    count = 0
    todo: list[tuple[DAG, Mapping[str, set[str]]]] = [(dag, {name: {name} for name in dag.inputs})]
    while todo and count <= limit:
        inner, bindings = todo.pop()
        count += len(inner.nodes)
        for node in inner.nodes.values():
            parameters: dict[str, set[str]] = {}
            for key, read in readings(node):
                if key is not None and isinstance(read, FromParam) and read.name is not None and read.name in bindings:
                    parameters.setdefault(key, set()).update(bindings[read.name])
            if isinstance(node, DAG):
                todo.append((node, parameters))
                continue
            for key, names in parameters.items():
                for name in sorted(names):
                    found.setdefault(name, {})[id(node.func), key] = (node.func, key, node.options.by_value)
    return {name: list(of_name.values()) for name, of_name in found.items()}


def step_options(options: TaskOptions, pool: FunctionPool, *, is_mapped: bool) -> dict[str, Any]:
    """Return the options of a task that were set, by their names, as JSON; its functions get numbers of `pool`."""
    hooks = {"success": options.on_success, "failure": options.on_failure, "retry": options.on_retry}
    chosen: dict[str, Any] = {name: _as_json(getattr(options, name)) for name in POLICIES}
    if options.cache is not None and callable(options.cache.key):
        key = {"key_function": pool.number(options.cache.key, options.by_value)}
        chosen["cache"] = _as_json(replace(options.cache, key=None)) | key
    if is_mapped:
        chosen |= item_options(options)
    if options.taints:
        chosen["tainted"] = True
    chosen["hooks"] = _hooks(hooks, pool, options.by_value)
    return {name: value for name, value in chosen.items() if value is not None}


def item_options(options: TaskOptions | DagOptions) -> dict[str, Any]:
    """Return the share of a step's items that must succeed, if that is not all of them."""
    share = least_success(options)
    return {} if share == 1 else {"min_success": share}


def dynamic_options(driver: Callable[..., object], pool: FunctionPool, queue: str, codec: int) -> dict[str, Any]:
    """Return the option by which workers plan a graph that a task returns, whose tasks have this queue and codec."""
    return {"dynamic": {"driver": pool.number_of_ours(driver), "queue": queue, "codec": codec}}


def plan_options(options: DagOptions, pool: FunctionPool) -> dict[str, Any]:
    """Return the options of the DAG that is submitted which were set and concern workers or the store."""
    values = {
        "fail_fast": None if options.fail_fast else False,
        "max_active_runs": options.max_active_runs,
        "keep": None if options.keep == "all" else options.keep,
        "hooks": _hooks({"success": options.on_success, "failure": options.on_failure}, pool, ()),
    }
    return {name: value for name, value in values.items() if value is not None}


def _as_json(value: Any) -> Any:
    """Return a policy as a dict of those of its fields that are set, and an error's class as its name."""
    if isinstance(value, type):
        return _name(value)
    if isinstance(value, tuple):
        return [_as_json(each) for each in value]
    return _fields_of(cast(Any, value)) if is_dataclass(value) else value


@lru_cache(maxsize=1000)
def _fields_of(policy: Any) -> dict[str, Any]:
    values = {each.name: _as_json(getattr(policy, each.name)) for each in fields(policy)}
    return {name: value for name, value in values.items() if value is not None}


def _name(kind: type[BaseException]) -> str:
    # A module that is run as a script has another name where it is imported.
    return f"{functions.describe(kind)['module'] or kind.__module__}:{kind.__qualname__}"


def _hooks(
    named: dict[str, Callable[..., object] | None], pool: FunctionPool, by_value: tuple[str, ...]
) -> dict[str, list[Any]] | None:
    return {name: pool.hook(hook, by_value) for name, hook in named.items() if hook is not None} or None
