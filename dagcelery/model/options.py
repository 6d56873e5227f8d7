"""Options say how a task or a DAG is to be run: where, when, how often, in which bytes; never what it means."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypeVar

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.model.policies import Cache, Retry, Timeout, as_timeout, check_count, check_seconds, is_number
from dagcelery.model.reprs import constructor_repr
from dagcelery.model.schedules import Schedule
from dagcelery.model.serializers import Serialize, Serializer
from dagcelery.text import shown

Hook: TypeAlias = Callable[..., object]


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How one task is run.

    `taints` send it to a queue that only tolerating workers consume, `queue` to that very queue; one
    excludes the other. `name` is the node's name in a DAG. `lazy` are the parameters that take an iterable
    instead of a list. `serializer` carries its returned value. `by_value` are modules that travel with the
    function.

    `retry` says whether a call that failed is followed by another, `timeout` how long a call may take (a plain
    number is a hard limit in seconds), and `start_within` within how many seconds of being ready it must start.
    A mapped task has succeeded where the share `min_success` of its items has, from 0 to 1;
    ``on_item_failure="skip"`` means a share of 0. On a task that is not mapped both have no effect, nor on failures of
    nodes that an item has called. At most `max_concurrent` of its pieces are executed at once, all runs counted
    together. `cache` says how long its results are kept for other calls that would give the same. `on_success`,
    `on_failure` and `on_retry` are functions that workers call; like tasks they are found by name, or travel by value.

    A task with a `driver` may return a graph, which is executed in its place: the driver is called with the function
    and its arguments by name, and what it returns is a graph if that has a `__dag__`.
    """

    taints: tuple[str, ...] = ()
    queue: str | None = None
    name: str | None = None
    lazy: frozenset[str] = frozenset()
    serializer: Serialize | Serializer | None = None
    by_value: tuple[str, ...] = ()
    retry: Retry | None = None
    timeout: Timeout | float | None = None
    start_within: float | None = None
    min_success: float | None = None
    on_item_failure: Literal["fail", "skip"] = "fail"
    max_concurrent: int | None = None
    cache: Cache | None = None
    on_success: Hook | None = None
    on_failure: Hook | None = None
    on_retry: Hook | None = None
    driver: Hook | None = None

    __repr__ = constructor_repr

    def __post_init__(self) -> None:
        for field in ("taints", "by_value"):
            object.__setattr__(self, field, words(field, getattr(self, field)))
        object.__setattr__(self, "lazy", frozenset(self.lazy))
        object.__setattr__(self, "timeout", as_timeout(self.timeout))
        _check_place(self.queue, self.taints)
        check_serializer(self.serializer)
        _check_retry(self.retry)
        _check_cache(self.cache)
        if self.start_within is not None:
            object.__setattr__(self, "start_within", check_seconds("start_within", self.start_within))
        if self.max_concurrent is not None:
            check_count("max_concurrent", self.max_concurrent)
        _check_items(self.min_success, self.on_item_failure)
        _check_hooks(on_success=self.on_success, on_failure=self.on_failure, on_retry=self.on_retry, driver=self.driver)
        if self.cache is not None and self.driver is not None:
            wrong = "is on a dynamic task, whose result other tasks make"
            raise InvalidDag(f"cache={shown(self.cache)}", wrong, "put it on the tasks that it calls")
        if self.on_retry is not None and self.retry is None:
            raise InvalidDag("on_retry", "is never called, since there is no retry", "give retry=Retry() as well")


@dataclass(frozen=True, slots=True)
class DagOptions:
    """How one DAG is run: the default serializer of its values, and what holds for the run as a whole.

    `deadline` is in seconds from the submission. With ``fail_fast=False`` what does not depend on a failed
    node is still executed. At most `max_active_runs` runs of this DAG go on at once. `on_success` and `on_failure`
    are functions that a worker calls when the run has ended. ``keep="outputs"`` keeps of all values only those
    that the DAG gives back. Celery's beat submits it when its `schedule` says so.

    But for the serializer these count only where this DAG is the one that is submitted: of a DAG within another
    they are ignored, while the options of its tasks, such as `retry`, hold wherever they are used.
    """

    serializer: Serializer | None = None
    deadline: float | None = None
    fail_fast: bool = True
    max_active_runs: int | None = None
    on_success: Hook | None = None
    on_failure: Hook | None = None
    keep: Literal["all", "outputs"] = "all"
    schedule: Schedule | None = None

    __repr__ = constructor_repr

    def __post_init__(self) -> None:
        check_serializer(self.serializer)
        if isinstance(self.serializer, Serialize):
            raise InvalidDag(f"serializer={shown(self.serializer)}", "is for one task's value", "give one serializer")
        if self.deadline is not None:
            check_seconds("deadline", self.deadline)
        if not isinstance(self.fail_fast, bool):
            raise InvalidDag(f"fail_fast={shown(self.fail_fast)}", "is neither true nor false", "give True or False")
        if self.max_active_runs is not None:
            check_count("max_active_runs", self.max_active_runs)
        _check_hooks(on_success=self.on_success, on_failure=self.on_failure)
        if self.keep not in ("all", "outputs"):
            raise InvalidDag(f"keep={shown(self.keep)}", "is nothing that could be kept", "give 'all' or 'outputs'")
        if self.schedule is not None and not isinstance(self.schedule, Schedule):
            raise InvalidDag(f"schedule={shown(self.schedule)}", "is not a schedule", 'give Schedule("*/5 * * * *")')


Options = TypeVar("Options", TaskOptions, DagOptions)


def changed(options: Options, **given: Any) -> Options:
    """Return options with what is given, None is not; the very same if that is nothing."""
    changes = {name: value for name, value in given.items() if value is not None}
    return replace(options, **changes) if changes else options


def check_serializer(serializer: object) -> None:
    """Refuse what could not serialize, above all a class where its instance is due."""
    if isinstance(serializer, Serialize):
        for part in serializer:
            check_serializer(part)
        return
    if serializer is None:
        return
    if isinstance(serializer, type) or not isinstance(serializer, Serializer):
        raise InvalidDag(
            f"serializer={shown(serializer)}",
            "is not a serializer",
            "give an object with extension, serialize(value, writer) and deserialize(reader): AsPickle()",
        )


def _check_place(queue: str | None, taints: tuple[str, ...]) -> None:
    if queue is not None and taints:
        raise InvalidDag(
            f"queue={shown(queue)} with taint={'+'.join(taints)!r}",
            "name two places for one task",
            "give either, since a taint chooses the queue by itself",
        )
    if queue is not None and (not isinstance(queue, str) or not queue.strip()):
        raise InvalidDag(f"queue={shown(queue)}", "is not the name of a queue", "give a word such as 'gpu'")
    for taint in taints:
        if "+" in taint:
            raise InvalidDag(f"taint={shown(taint)}", "has a '+', which joins taints", "give them as ('a', 'b')")


def _check_retry(retry: object) -> None:
    if retry is not None and not isinstance(retry, Retry):
        raise InvalidDag(f"retry={shown(retry)}", "does not say how to try again", "give Retry(max_attempts=3), say")


def _check_cache(cache: object) -> None:
    if cache is not None and not isinstance(cache, Cache):
        raise InvalidDag(f"cache={shown(cache)}", "does not say how long results are kept", "give Cache(ttl=3600), say")


def _check_items(min_success: object, on_item_failure: object) -> None:
    if min_success is not None and not (is_number(min_success) and 0 <= min_success <= 1):
        raise InvalidDag(
            f"min_success={shown(min_success)}", "is not a share of the items", "give a number from 0 to 1"
        )
    if on_item_failure not in ("fail", "skip"):
        raise InvalidDag(f"on_item_failure={shown(on_item_failure)}", "is not an answer", "give 'fail' or 'skip'")
    if on_item_failure == "skip" and min_success:
        raise InvalidDag(
            f"on_item_failure='skip' with min_success={shown(min_success)}",
            "contradict each other, since to skip means that no item must succeed",
            "give either",
        )


def _check_hooks(**hooks: object) -> None:
    for name, hook in hooks.items():
        if hook is not None and not callable(hook):
            raise InvalidDag(f"{name}={shown(hook)}", "cannot be called", "give a function that workers can import")


def words(field: str, given: object) -> tuple[str, ...]:
    """Return one word or several as a tuple; what holds anything else is refused by the name of its `field`."""
    if not isinstance(given, Iterable):
        raise InvalidDagType(f"{field}={shown(given)}", "is neither a word nor several", "give words")
    found = (given,) if isinstance(given, str) else tuple(given)
    for word in found:
        if not isinstance(word, str) or not word.strip():
            raise InvalidDag(f"{field}={shown(given)}", f"holds {shown(word)}, which is not a word", "give words")
    return found


def checked(options: Options | None, kind: type[Options]) -> Options:
    """Return options, those of nobody's choice if there are none; refuse what is of another kind."""
    if options is not None and not isinstance(options, kind):
        raise InvalidDagType(f"options={shown(options)}", f"is not a {kind.__name__}", f"give {kind.__name__}(...)")
    return options or kind()
