"""What options of tasks and DAGs are in Argo, what it cannot say, and the keys of a manifest that users add to."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from dagcelery.errors import NotExportable
from dagcelery.model import DAG, DagOptions, FromNodeOutput, Node, Retry, Task, Timeout, fan_source
from dagcelery.model.options import least_success, tolerance
from dagcelery.model.sources import Readable

START_SECONDS: Final = 120
"""How long a pod may take to begin: its deadline counts from then on, a task's timeout from the call."""

RETRIED: Final = 'lastRetry.exitCode != "1" && lastRetry.exitCode != "2"'
"""The process says by its exit code that its failure stands; a lost pod has none, or that of a signal."""

Added = Callable[[Mapping[str, Any], Mapping[str, Any], str], dict[str, Any]]
"""Adds a user's keys to what this room has written, in the name of a place."""


def merged(written: Mapping[str, Any], added: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return both mappings as one: mappings in them are merged, lists joined. Raises NotExportable for any other key
    that both have.
    """
    both = dict(written)
    for key, value in added.items():
        here = both.get(key)
        if key not in both:
            both[key] = value
        elif isinstance(here, list) and isinstance(value, list):
            both[key] = here + value
        elif isinstance(here, Mapping) and isinstance(value, Mapping):
            both[key] = merged(here, value, f"{place}.{key}")
        else:
            problem = "is written by the export, which needs it to be so"
            raise NotExportable(f"{place}.{key}", problem, "leave it out, and set keys that it does not write")
    return both


def check_node(node: Node, dag: DAG, title: str) -> None:
    """Raise NotExportable for a node of a DAG that Argo cannot run as a worker would."""
    if isinstance(node, Task) and node.options.driver is not None:
        problem = "makes its nodes while it runs, and Argo wants all of them beforehand"
        raise NotExportable(title, problem, "export a DAG without it, or let workers run it")
    share, option = least_success(node.options), tolerance(node.options)
    if isinstance(node, DAG) and option and fan_source(node) is not None:
        problem = "is on a DAG, and Argo cannot leave out an item together with all of its nodes"
        raise NotExportable(f"{option} of {title}", problem, "put it on the tasks that are called for each item")
    if isinstance(node, DAG) and any(_may_be_skipped(read, dag) for read in node._readings.items):
        problem = "runs once for each item of a list from which some may be left out, which Argo does not know"
        raise NotExportable(title, problem, "let the task before it fail, or make it a task")
    if 0 < share < 1:
        problem = "is a share of items, which Argo does not count"
        raise NotExportable(f"{option} of {title}", problem, 'give on_item_failure="skip", or leave it out')


def _may_be_skipped(read: Readable, dag: DAG) -> bool:
    """Whether items of a list may be left out, there or in a list that it is made of item by item."""
    node = dag.nodes[read.node] if isinstance(read, FromNodeOutput) else None
    if node is None or fan_source(node) is None:
        return False
    return bool(tolerance(node.options)) or any(_may_be_skipped(other, dag) for other in node._readings.items)


def template_options(task: Task, title: str) -> dict[str, Any]:
    """Return the keys of a task's template that follow from its options."""
    options, keys = task.options, dict[str, Any]()
    if attempts(task) is not None:
        keys["retryStrategy"] = _retry_strategy(options.retry or Retry())
    if isinstance(options.timeout, Timeout) and options.timeout.hard is not None:
        keys["activeDeadlineSeconds"] = math.ceil(options.timeout.hard) + START_SECONDS
    for taint in options.taints:
        if not re.fullmatch(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", taint):
            problem = "is not a key that Kubernetes accepts for taints and labels"
            raise NotExportable(f"taint '{taint}' of {title}", problem, "name it with letters, digits, '-', '_', '.'")
    if options.taints:
        keys["tolerations"] = [{"key": taint, "operator": "Exists"} for taint in options.taints]
        keys["nodeSelector"] = dict.fromkeys(options.taints, "true")
    if options.max_concurrent is not None:
        keys["synchronization"] = synchronization(function_name(task), options.max_concurrent)
    return keys


def spec_options(options: DagOptions, name: str) -> dict[str, Any]:
    """Return the keys of a workflow's spec that follow from its DAG's options."""
    keys: dict[str, Any] = {}
    if options.deadline is not None:
        keys["activeDeadlineSeconds"] = math.ceil(options.deadline)
    if options.max_active_runs is not None:
        keys["synchronization"] = synchronization(name, options.max_active_runs)
    return keys


def attempts(task: Task) -> int | None:
    """Return how often a task may be called; None for once."""
    retry = task.options.retry
    return retry.max_attempts if retry is not None and retry.max_attempts > 1 else None


def _retry_strategy(retry: Retry) -> dict[str, Any]:
    strategy: dict[str, Any] = {
        "limit": str(retry.max_attempts - 1),
        "retryPolicy": "Always",
        "expression": RETRIED,
    }
    wait = retry.wait
    if wait.base:
        strategy["backoff"] = {"duration": _duration(wait.base)}
        if wait.factor > 1:  # whole numbers are all that Argo takes
            strategy["backoff"] |= {"factor": str(math.ceil(wait.factor)), "cap": _duration(wait.maximum)}
    return strategy


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


# -- limits ---------------------------------------------------------------------------------------
def function_name(task: Task) -> str:
    """Return what a limit of a task is called: runs of all DAGs that use its function count together."""
    func = task.func
    return f"{getattr(func, '__module__', '')}.{getattr(func, '__qualname__', type(func).__qualname__)}"


def synchronization(name: str, most: int) -> dict[str, Any]:
    """Return the lock that at most so many hold at once: Argo counts more than one by a ConfigMap's number."""
    if most == 1:
        return {"mutexes": [{"name": _lock(name)}]}
    return {"semaphores": [{"configMapKeyRef": {"name": _lock(name), "key": "limit"}}]}


def config_map(name: str, most: int, namespace: str) -> dict[str, Any]:
    """Return the ConfigMap in which a semaphore finds its number."""
    metadata = {"name": _lock(name)} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"limit": str(most)}}


def _lock(name: str) -> str:
    # Different names stay different, whatever Kubernetes does not take of them.
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:200].strip("-")
    return f"dagcelery-{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def limits(dag: DAG, name: str) -> dict[str, int]:
    """Return the limits of a DAG and of the tasks in it that need a ConfigMap, by name."""
    found = {function_name(task): task.options.max_concurrent or 1 for task in _tasks(dag)}
    found[name] = dag.options.max_active_runs or 1
    return {name: most for name, most in found.items() if most > 1}


def _tasks(dag: DAG) -> Iterator[Task]:
    for node in dag.nodes.values():
        if isinstance(node, DAG):
            yield from _tasks(node)
        else:
            yield node
