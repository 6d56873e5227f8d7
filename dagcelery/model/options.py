"""Options say how a task or a DAG is run: where, when, how often, in which bytes; never what it means.

Policies say what happens when a task fails or takes too long. All are values, valid once they exist. The keywords of
`@task`, `@dag` and `options` are listed here as well, and only here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from inspect import Signature
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict, TypeGuard, TypeVar

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.model.serializers import Serialize, Serializer, check_serializer
from dagcelery.text import choices, constructor_repr, shown

if TYPE_CHECKING:
    from dagcelery.model.schedules import Schedule


MOST_ATTEMPTS: Final = 1000

MOST_SECONDS: Final = 10 * 365 * 86400
"""The longest time of an option: the kernel's timers and threads do not take any number."""

CACHED_BYTES: Final = 16 * 1024 * 1024

Errors: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]


def check_seconds(name: str, value: object, *, zero: bool = False) -> float:
    """Return `value` if it is a time in seconds, up to ten years; it may be 0 if `zero`."""
    if is_number(value) and (0 < value <= MOST_SECONDS or (zero and value == 0)):
        return float(value)
    if is_number(value) and MOST_SECONDS < value <= sys.float_info.max:
        raise InvalidDag(f"{name}={shown(value)}", "is more than ten years", f"give at most {MOST_SECONDS:,} seconds")
    raise InvalidDag(
        f"{name}={shown(value)}", "is not a time", f"give seconds, {'0 or more' if zero else 'more than 0'}"
    )


def check_count(name: str, value: object, most: int | None = None) -> int:
    """Return `value` if it is a whole number from 1 to `most`."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= (most or value):
        return value
    remedy = f"give a whole number, 1 {f'to {most:,}' if most else 'or more'}"
    what = "bytes" if name.endswith("_bytes") else "times"
    raise InvalidDag(f"{name}={shown(value)}", f"is not a number of {what}", remedy)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether `value` is a number; True and False do not count."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a piece that failed waits: `base` seconds, and each time `factor` times as long, up to `maximum`.

    `jitter` varies every wait at random, so that what failed together does not come back together.
    """

    base: float
    factor: float
    maximum: float
    jitter: bool

    def __post_init__(self) -> None:
        for name in ("base", "maximum"):
            object.__setattr__(self, name, check_seconds(name, getattr(self, name), zero=True))
        if not is_number(self.factor) or not 1 <= self.factor <= sys.float_info.max:
            raise InvalidDag(f"factor={shown(self.factor)}", "makes no wait longer", "give a number, 1 or more")
        object.__setattr__(self, "factor", float(self.factor))
        if not isinstance(self.jitter, bool):
            raise InvalidDag(f"jitter={shown(self.jitter)}", "is neither true nor false", "give True or False")
        if self.base > self.maximum:
            problem = f"is longer than maximum={shown(self.maximum)}"
            raise InvalidDag(
                f"base={shown(self.base)}", problem, "give a maximum that is not below it, or static(seconds)"
            )


def exponential(base: float = 1.0, maximum: float = 60.0, factor: float = 2.0, jitter: bool = True) -> Wait:
    """Return waits of `base` seconds, then each `factor` times as long as the one before, up to `maximum`."""
    return Wait(base, factor, maximum, jitter)


def static(seconds: float) -> Wait:
    """Return waits that are all `seconds` long; 0 tries again at once."""
    seconds = check_seconds("wait", seconds, zero=True)
    return Wait(seconds, 1.0, seconds, jitter=False)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Retry:
    """How often a function that raised is called again, after which waits and which errors.

    `max_attempts` counts the calls of the function that may happen in all: 3 means at most 3 calls, of which 2
    come after an error. A call that was cut off by the death of its worker is counted apart. `wait` is what
    `exponential(...)` or `static(...)` return, and a plain number means `static`. Errors of the classes `on`, and
    of those derived from them, are followed by another call, but for those of `give_up_on`. Classes are compared by
    module and name. A hard time limit counts as a TimeoutError and as Celery's TimeLimitExceeded.
    """

    max_attempts: int
    wait: Wait
    on: tuple[type[BaseException], ...]
    give_up_on: tuple[type[BaseException], ...]

    __repr__ = constructor_repr

    def __init__(
        self,
        max_attempts: int = 3,
        wait: Wait | float = exponential(),  # noqa: B008 - a frozen value
        on: Errors = (Exception,),
        give_up_on: Errors = (),
    ) -> None:
        values = {
            "max_attempts": check_count("max_attempts", max_attempts, MOST_ATTEMPTS),
            "wait": wait if isinstance(wait, Wait) else static(wait),
            "on": _classes("on", on),
            "give_up_on": _classes("give_up_on", give_up_on),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if not self.on:
            raise InvalidDag("on=()", "names no error, so nothing is ever tried again", "leave it out, or name some")
        for kind in self.on:
            if issubclass(kind, self.give_up_on):
                problem = "is named by give_up_on as well, itself or a class that it is derived from"
                raise InvalidDag(f"on={kind.__qualname__}", problem, "name each error in one of them")


@dataclass(frozen=True, slots=True, repr=False)
class Timeout:
    """How many seconds one call may take.

    After `soft` seconds Celery's SoftTimeLimitExceeded is raised in the function, which may clean up; after
    `hard` seconds its process is ended.
    """

    soft: float | None = None
    hard: float | None = None

    __repr__ = constructor_repr

    def __post_init__(self) -> None:
        for name in ("soft", "hard"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_seconds(name, getattr(self, name)))
        if self.soft is None and self.hard is None:
            raise InvalidDag("Timeout()", "sets no limit", "give soft=, hard= or both, in seconds")
        if self.soft is not None and self.hard is not None and self.soft >= self.hard:
            problem = f"leaves no time before hard={shown(self.hard)}"
            raise InvalidDag(f"soft={shown(self.soft)}", problem, "give a soft limit that is shorter than the hard one")


@dataclass(frozen=True, slots=True, repr=False)
class Cache:
    """How long results of a task are kept for other calls, of any run, that would give the same.

    For `ttl` seconds a call is answered with the result of an earlier one if the function's code and all arguments are
    the same; of a fan-out item by item. `key` takes the arguments' place: a text, or a function that is called like
    the task and returns one. Results of more than `max_bytes` are not kept. What the function calls, and what it reads
    elsewhere, does not count: a new key does. Objects count with their data and the code of their class. A call that is
    given code, such as a function, a class or a task, however deep in its arguments, is always made.
    """

    ttl: float
    key: str | Callable[..., str] | None = None
    max_bytes: int = CACHED_BYTES

    __repr__ = constructor_repr

    def __post_init__(self) -> None:
        object.__setattr__(self, "ttl", check_seconds("ttl", self.ttl))
        if self.key is not None and not callable(self.key) and not (isinstance(self.key, str) and self.key):
            problem, remedy = "is neither a text nor a function that gives one", "give 'v2', or lambda url: url"
            raise InvalidDag(f"key={shown(self.key)}", problem, remedy)
        check_count("max_bytes", self.max_bytes)


def as_timeout(timeout: Timeout | float | None) -> Timeout | None:
    """Return limits as a `Timeout`: a plain number is a hard one."""
    if timeout is None or isinstance(timeout, Timeout):
        return timeout
    return Timeout(hard=check_seconds("timeout", timeout))


def _classes(name: str, value: object) -> tuple[type[BaseException], ...]:
    classes = value if isinstance(value, tuple) else (value,)
    for kind in classes:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            problem = "is not an exception class"
            raise InvalidDag(f"{name}={shown(kind)}", problem, "give a class such as OSError, or a tuple of them")
    return tuple(dict.fromkeys(classes))


Hook: TypeAlias = Callable[..., object]

POLICIES: Final = ("retry", "timeout", "start_within", "max_concurrent", "cache")
"""The options of a task that workers and the store read, by these names and those of their fields."""


@dataclass(frozen=True, slots=True, repr=False)
class TaskOptions:
    """How one task is run; `TASK_MEANINGS` has a line for each option.

    A plain number as `timeout` is a hard limit, and ``on_item_failure="skip"`` means a `min_success` of 0. A node that
    is not mapped must have neither of the last two. An item of a dynamic task fails with any node that it has called.
    Hooks are found by name, as tasks are, or travel by value. Of a task with `sensitive` parameters texts of errors are
    without their values, or without any message if all are sensitive.

    `lazy` are the parameters that take an iterable instead of a list. A task with a `driver` may return a graph, which
    is executed in its place: the driver is called with the function and its arguments by name, and what it returns is
    a graph if that has a `__dag__`.
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
    sensitive: bool | tuple[str, ...] = ()

    __repr__ = constructor_repr

    def __post_init__(self) -> None:
        for field in ("taints", "by_value"):
            object.__setattr__(self, field, words(field, getattr(self, field)))
        object.__setattr__(self, "lazy", frozenset(self.lazy))
        object.__setattr__(self, "sensitive", _sensitive(self.sensitive))
        object.__setattr__(self, "timeout", as_timeout(self.timeout))
        _check_place(self.queue, self.taints)
        check_serializer(self.serializer)
        _check_kind("retry", self.retry, Retry, "does not say how to try again", "give Retry(max_attempts=3), say")
        _check_kind("cache", self.cache, Cache, "does not say how long results are kept", "give Cache(ttl=3600), say")
        if self.start_within is not None:
            object.__setattr__(self, "start_within", check_seconds("start_within", self.start_within))
        if self.max_concurrent is not None:
            check_count("max_concurrent", self.max_concurrent)
        _check_items(self.min_success, self.on_item_failure)
        _check_hooks(on_success=self.on_success, on_failure=self.on_failure, on_retry=self.on_retry, driver=self.driver)
        if self.cache is not None and self.driver is not None:
            problem = "is on a dynamic task, whose result other tasks make"
            raise InvalidDag(f"cache={shown(self.cache)}", problem, "put it on the tasks that it calls")
        if self.on_retry is not None and self.retry is None:
            raise InvalidDag("on_retry", "is never called without a retry", "give retry=Retry() as well")


@dataclass(frozen=True, slots=True, repr=False)
class DagOptions:
    """How one DAG is run: the default serializer of its values, and what holds for the run; see `DAG_MEANINGS`.

    But for the serializer and `sensitive` these count only where this DAG is the one that is submitted: of a DAG within
    another they are ignored, while the options of its tasks, such as `retry`, hold wherever they are used.

    `min_success` and `on_item_failure` are for a DAG that another one maps, and mean what they do of a task: an item
    fails with the first failure in it that is final, and what is left of it is not executed. What such a DAG returns is
    one value in the body around it, also where it returns a list or a dict of several.
    """

    serializer: Serializer | None = None
    deadline: float | None = None
    fail_fast: bool = True
    max_active_runs: int | None = None
    on_success: Hook | None = None
    on_failure: Hook | None = None
    keep: Literal["all", "outputs"] = "all"
    schedule: Schedule | None = None
    min_success: float | None = None
    on_item_failure: Literal["fail", "skip"] = "fail"
    sensitive: bool | tuple[str, ...] = ()

    __repr__ = constructor_repr

    def __post_init__(self) -> None:
        check_serializer(self.serializer)
        object.__setattr__(self, "sensitive", _sensitive(self.sensitive))
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
            raise InvalidDag(f"keep={shown(self.keep)}", "is unknown", "give 'all' or 'outputs'")
        if self.schedule is not None:
            _check_schedule(self.schedule)
        _check_items(self.min_success, self.on_item_failure)


class TaskUse(TypedDict, total=False):
    """The options of a task that may also be given for one use of it; `TASK_MEANINGS` says what they mean."""

    name: str | None
    queue: str | None
    taint: str | Iterable[str]
    retry: Retry | None
    timeout: Timeout | float | None
    start_within: float | None
    min_success: float | None
    on_item_failure: Literal["fail", "skip"] | None
    max_concurrent: int | None
    cache: Cache | None
    on_success: Hook | None
    on_failure: Hook | None
    on_retry: Hook | None


class TaskKeywords(TaskUse, total=False):
    """What `@task` takes."""

    outputs: int | None
    serializer: Serialize | Serializer | None
    by_value: str | Iterable[str]
    aliases: str | Iterable[str]
    dynamic: bool
    sensitive: bool | str | Iterable[str]


class _RunKeywords(TypedDict, total=False):
    name: str | None
    deadline: float | None
    fail_fast: bool | None
    max_active_runs: int | None
    on_success: Hook | None
    on_failure: Hook | None
    keep: Literal["all", "outputs"] | None
    min_success: float | None
    on_item_failure: Literal["fail", "skip"] | None


IfFailed = Literal["return", "resume", "new"]
"""What a key gives whose run failed, was cancelled or timed out: that run, that run resumed, or a new one."""


class DagUse(_RunKeywords, total=False):
    """The options of a DAG for one use of it; `DAG_MEANINGS` says what they mean."""

    key: str | None
    if_failed: IfFailed
    client: object


class DagKeywords(_RunKeywords, total=False):
    """What `@dag` takes."""

    static: str | Iterable[str]
    serializer: Serializer | None
    schedule: str | None
    timezone: str | None
    sensitive: bool | str | Iterable[str]


TASK_MEANINGS: Final = {
    "name": "the node's name in a DAG; by default the function's",
    "outputs": "how many values it returns, where its annotation does not say: `a, b = split(x)`",
    "aliases": "names that it had, as `module:name`, by which older runs find it",
    "dynamic": "whether the tasks and DAGs that it calls while it runs become nodes that follow it",
    "queue": "the queue that it waits on; not together with `taint`",
    "taint": "what a worker must tolerate to execute it, which chooses the queue: `gpu`, or several names",
    "max_concurrent": "how many pieces of it are executed at once, all runs and workers counted together",
    "serializer": "how the value that it returns becomes bytes; by default the DAG's serializer",
    "by_value": "modules that are sent along with the function, for workers that do not have them; needs a signing key",
    "sensitive": "parameters whose values are never shown, in lists, logs or errors; `True`: all of them",
    "cache": "how long its results are kept for calls, of any run, that would give the same",
    "retry": "whether, how often and after which errors a call that failed is followed by another",
    "timeout": "how many seconds one call may take: a plain number ends it, `Timeout(soft=…)` raises an error in it",
    "start_within": "how many seconds a piece may be ready before a worker starts it; else it fails",
    "min_success": "where it is called for each item of a list: the share of items that must succeed, from 0 to 1",
    "on_item_failure": "the same in a word: `skip` leaves out items that fail, `fail` lets the node fail",
    "on_success": "a function that a worker calls with a `Notice` when a piece is done",
    "on_failure": "a function that a worker calls with a `Notice` when a piece has failed for good",
    "on_retry": "a function that a worker calls with a `Notice` when an attempt failed and another will follow",
}
"""What each option of `@task` means, in a line of Markdown: `help(task)` and the reference read it here."""

DAG_MEANINGS: Final = {
    "name": "the node's name where another DAG calls it; by default the function's",
    "static": "parameters that have their values while the body is read; each value makes a DAG of its own",
    "serializer": "how values in it become bytes, unless a task says otherwise",
    "sensitive": "parameters whose values are never shown, wherever they are passed on to; `True`: all of them",
    "schedule": "when Celery's beat submits it: five fields of cron, such as `0 3 * * *`",
    "timezone": "the clock of `schedule`, such as `Europe/Berlin`; by default the app's",
    "key": "a run has it only once: to submit again with the same key gives the same run",
    "if_failed": "what a key gives whose run failed: `return` that run, `resume` it, or start a `new` one",
    "client": "the client that submits it, as `attach` returned it; by default that of the app attached last",
    "deadline": "how many seconds after it was submitted a run ends as timed out",
    "max_active_runs": "how many runs of it go on at once; others wait",
    "fail_fast": "whether a run ends with its first failure; if not, what does not depend on that is still executed",
    "keep": "`outputs` frees each value that nothing needs any more and that is no output of the DAG",
    "min_success": "where it is called for each item of a list: the share of items that must succeed, from 0 to 1",
    "on_item_failure": "the same in a word: `skip` leaves out items that fail, `fail` lets the run fail",
    "on_success": "a function that a worker calls with a `Notice` when a run is done",
    "on_failure": "a function that a worker calls with a `Notice` when a run has failed, timed out or was cancelled",
}
"""The same for `@dag`, and for one use of a DAG."""


Options = TypeVar("Options", TaskOptions, DagOptions)

_EXCLUSIVE: Final[tuple[dict[str, Any], ...]] = (
    {"queue": None, "taints": ()},
    {"min_success": None, "on_item_failure": "fail"},
)
"""Options that answer one question, as they are where nothing is said: to give one takes the others back."""


def changed(options: Options, keywords: Mapping[str, Any]) -> Options:
    """Return options with those of the keywords that are options, None is not; the very same if there are none."""
    if "taint" in keywords:
        keywords = {**keywords, "taints": words("taint", keywords["taint"]) or None}
    changes = {name: value for name, value in keywords.items() if value is not None and hasattr(options, name)}
    for answers in _EXCLUSIVE:
        if changes.keys() & answers:
            changes = {**answers, **changes}
    return replace(options, **changes) if changes else options


def with_lazy(options: TaskOptions, names: frozenset[str]) -> TaskOptions:
    """Return options with these lazy parameters as well; the very same if there is none that is new."""
    if names <= options.lazy:
        return options
    changed = copy(options)  # not `replace`, which would check all of them again, at each node
    object.__setattr__(changed, "lazy", options.lazy | names)
    return changed


def least_success(options: TaskOptions | DagOptions) -> float:
    """Return the share of items that must succeed."""
    if options.on_item_failure == "skip":
        return 0.0
    return 1.0 if options.min_success is None else options.min_success


def tolerance(options: TaskOptions | DagOptions) -> str:
    """Return the option that lets items fail, as it is written; "" if there is none."""
    if least_success(options) == 1:
        return ""
    return "on_item_failure='skip'" if options.min_success is None else f"min_success={shown(options.min_success)}"


def alone(options: TaskOptions) -> TaskOptions:
    """Return the options of a task where it runs by itself, and has no items."""
    return changed(options, {"on_item_failure": "fail"}) if tolerance(options) else options


def check_keywords(keywords: Mapping[str, object], kind: Any, taker: str) -> None:
    """Refuse keywords that the TypedDict `kind` does not have, in the name of what takes them."""
    for name in keywords:
        if name not in kind.__optional_keys__:
            raise InvalidDagType(f"option {name!r} of {taker}", "does not exist", choices(name, kind.__optional_keys__))


def is_sensitive(options: TaskOptions | DagOptions, name: str) -> bool:
    """Whether a parameter is never shown."""
    return options.sensitive is True or (options.sensitive is not False and name in options.sensitive)


def check_sensitive(
    owner: str, options: TaskOptions | DagOptions, inputs: Iterable[str], takes: Signature | None = None
) -> None:
    """Refuse names of sensitive parameters that do not exist: what they were meant for would be shown."""
    parameters = takes.parameters if takes is not None else {}
    if isinstance(options.sensitive, bool) or any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    names = {*inputs, *parameters}
    for name in options.sensitive:
        if name not in names:
            culprit = f"sensitive={shown(name)} of {owner}"
            raise InvalidDag(culprit, "is not one of its parameters", choices(name, names))


def _sensitive(value: object) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value or ()
    return words("sensitive", value)


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


def _check_kind(name: str, value: object, kind: type, problem: str, remedy: str) -> None:
    if value is not None and not isinstance(value, kind):
        raise InvalidDag(f"{name}={shown(value)}", problem, remedy)


def _check_items(min_success: object, on_item_failure: object) -> None:
    if min_success is not None and not (is_number(min_success) and 0 <= min_success <= 1):
        raise InvalidDag(
            f"min_success={shown(min_success)}", "is not a share of the items", "give a number from 0 to 1"
        )
    if on_item_failure not in ("fail", "skip"):
        raise InvalidDag(f"on_item_failure={shown(on_item_failure)}", "is unknown", "give 'fail' or 'skip'")
    if on_item_failure == "skip" and min_success:
        raise InvalidDag(
            f"on_item_failure='skip' with min_success={shown(min_success)}",
            "contradict each other, since to skip means that no item must succeed",
            "give either",
        )


def schedule_of(cron: str | None, timezone: str | None) -> Schedule | None:
    """Return the schedule that two options of a decorator make; a timezone alone is refused."""
    if cron is None:
        if timezone is not None:
            raise InvalidDag(f"timezone={shown(timezone)}", "has no schedule", 'give schedule="0 3 * * *" as well')
        return None
    from dagcelery.model.schedules import Schedule

    return Schedule(cron, timezone)


def _check_schedule(schedule: object) -> None:
    from dagcelery.model.schedules import Schedule  # here, since few DAGs have one, and zoneinfo takes its time

    if not isinstance(schedule, Schedule):
        raise InvalidDag(f"schedule={shown(schedule)}", "is not a schedule", 'give Schedule("*/5 * * * *")')


def _check_hooks(**hooks: object) -> None:
    for name, hook in hooks.items():
        if hook is not None and not callable(hook):
            raise InvalidDag(f"{name}={shown(hook)}", "cannot be called", "give a function that workers can import")


def words(field: str, value: object) -> tuple[str, ...]:
    """Return one word or several as a tuple; anything else is refused in the name of its `field`."""
    if type(value) is tuple and not value:
        return ()
    if not isinstance(value, Iterable):
        raise InvalidDagType(f"{field}={shown(value)}", "is neither a word nor several", "give words")
    several = (value,) if isinstance(value, str) else tuple(value)
    for word in several:
        if not isinstance(word, str) or not word.strip():
            raise InvalidDag(f"{field}={shown(value)}", f"holds {shown(word)}, which is not a word", "give words")
    return several


def checked(options: Options | None, kind: type[Options]) -> Options:
    """Return options, the default ones instead of None; refuse anything of another kind."""
    if options is not None and not isinstance(options, kind):
        raise InvalidDagType(f"options={shown(options)}", f"is not a {kind.__name__}", f"give {kind.__name__}(...)")
    if options is None:
        options = _defaults.get(kind) or _defaults.setdefault(kind, kind())
    return options


_defaults: Final[dict[Any, Any]] = {}
"""The options that nodes have to which none are given."""
