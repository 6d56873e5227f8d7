"""What options say to workers: those that neither chose a queue nor a codec, as data without classes and functions.

Errors are named as ``"module:qualname"`` and matched against the names of an error's classes, so that no worker
has to import them. Hooks are numbers of functions of the plan.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from dagcelery.model import Cache, DagOptions, Retry, TaskOptions, as_timeout
from dagcelery.payload import functions
from dagcelery.planner.tables import FunctionTable

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
    return {"dynamic": {"f": table.number_of_driver(driver), "q": queue, "c": codec}}


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
        said["by"] = table.number(cache.key, by_value)
    return said


def _name(kind: type[BaseException]) -> str:
    # A module that is run as a script has another name where it is imported.
    return f"{functions.describe(kind)['module'] or kind.__module__}:{kind.__qualname__}"


def _hooks(
    named: dict[str, Callable[..., object] | None], table: FunctionTable, by_value: tuple[str, ...]
) -> dict[str, int] | None:
    found = {name: table.number(hook, by_value) for name, hook in named.items() if hook is not None}
    return found or None
