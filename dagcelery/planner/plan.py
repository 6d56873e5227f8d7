"""A plan is what workers read: immutable, versioned data that says what every step calls, with what, where.

A plan holds *bodies*: body 0 is the DAG itself with its unmapped nested DAGs flattened into it; every
mapped nested DAG is a body of its own, entered once per item in a new scope.

Tokens name stored values. ``"3.0"`` is output 0 of step 3 in the same scope, ``"$n"`` a parameter of the
same scope, and each leading ``^`` goes one scope up: ``"^3.0"``, ``"^^$n"``.

Expressions say how an argument is put together from tokens. They are nested tuples (lists in JSON):

==============================  =================================================================
``("lit", value)``              a JSON value; shared by all readers, so a mutable one is copied before use
``("live", value)``             a literal that JSON would change, as it is; in the process that planned only
``("blob", base64)``            what ``("live", value)`` becomes when the plan is encoded: pickled
``("ref", token)``              the whole value; of a fan-out the ordered list of its items' results
``("each", token)``             this item's element of a split value, or this item's result of a fan-out
``("list", items)``             also ``"tuple"`` and ``"set"``; an item of a list may be a splice
``("splice", template, over)``  one element per item of the token ``over``; each ``("each", token)`` in
                                ``template`` is aligned with ``over``, never with the step's own items
``("dict", pairs)``             pairs of (key expression, value expression)
``("choice", expr)``            which branch a condition takes: ([True], [], None) where it is true, ([], [True], None)
                                where it is not, ([], [], it) where it was skipped
``("first", list, expr)``       the first element of a list, else the other value
``("part", expr, path)``        what lies at `path` within a value; a path is pairs of ("key" or
                                "property", name)
==============================  =================================================================

All ``each`` of a step, outside of splices, are aligned with its `over`, which names what is counted: a
split output of a plain step or a parameter, never a fan-out.

Only `parts` and `rebuilt` know how expressions are nested.

A token is *read* in one of four manners:

* ``"whole"``: the value, or all results of a fan-out;
* ``"each"``: the element or result that belongs to the step's own item;
* ``"spliced"``: an element per item of a splice, so in the end all of them;
* ``"over"``: a splice counts its items.

A literal of a DAG stands in the plan as it is where JSON keeps it, else taken apart, else as an object.

Each step waits on one queue. A task's ``queue=`` wins. Else its taints name the queue: sorted and joined with ``+``, so
that ``("ssd", "gpu")`` waits on ``gpu+ssd``. A task with neither waits on the default queue. A worker that tolerates
taints may run tasks that have no others: with gpu and ssd it consumes the default queue, ``gpu``, ``ssd`` and
``gpu+ssd``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

from dagcelery.objects import identity
from dagcelery.text import shown

VERSION = 2

Expr: TypeAlias = tuple[Any, ...]

Arguments: TypeAlias = tuple[tuple[str, Expr], ...]

Path: TypeAlias = tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """How a worker finds a function: by module and qualified name, or by value where `module` is empty.

    `blob` is pickled when the plan is encoded, `live` is there in the process that planned: a plan that is run in
    that process needs neither imports nor pickle.
    """

    module: str
    qualname: str
    hash: str
    blob: bytes | None = None
    python: str = ""
    live: Callable[..., Any] | None = field(default=None, compare=False, repr=False)
    by_value: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def short_name(self) -> str:
        """What the function is called where its durations are meant: the same in all plans, so that a graph that grows
        does not make it another one each time."""
        return _short_name(self.module, self.qualname, self.hash)


@lru_cache(maxsize=1_000)
def _short_name(*parts: str) -> str:
    return base64.b32encode(hashlib.blake2b(":".join(parts).encode(), digest_size=5).digest()).decode().lower()


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """One stored output of a step: a path into the returned value, whole or split into elements.

    `iterable` says that its author declared it to be iterated: where its codec refuses the whole value, the
    list of its elements is what is stored. An iterator needs no declaration.
    """

    name: str
    path: Path
    codec: int
    split: bool = False
    iterable: bool = False


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a body; `whole` and `split` say in which forms its readers need it stored."""

    name: str
    codec: int
    whole: bool
    split: bool
    required: bool = True
    default: Expr | None = None


# Not frozen, since there may be many thousands: to make a frozen one takes three times as long.
@dataclass(slots=True)
class Step:
    """A node in a plan. `over` is the token it runs once per item of; None means that it runs once.

    `kind` is "task" (`target` indexes functions), "dag" (`target` indexes bodies; always with `over`)
    or "gather" (no function: it stores the value of its single argument, so that it can be iterated;
    one without arguments and outputs is a barrier). A "dag" step's output i is its body's output i, and
    its arguments are the values of the body's parameters.
    One of option "branch" goes through a list that ``("choice", ...)`` gave: it enters its body once or not at all.

    `options` has the POLICIES of `TaskOptions` that the task set, as mappings of their fields: errors are
    "module:qualname", and "key_function" of a cache is the index of a function. It may also have "min_success" (a share
    below 1, of a fan-out only), "hooks" (a mapping from "success", "failure", "retry" to the index of a function and
    its keyword arguments), "tainted" (True, if its queue is that of its taints), "sensitive" (the arguments that are
    never shown, or True, if no message of an error is shown either), and "dynamic", if it may return a graph (a mapping
    of "driver", the index of the function that calls the task's own, and of the "queue" and the "codec" of such tasks
    of the graph as name none).

    The `arguments` of one that was stored are read when somebody asks for them, from its place `at` among the `unread`
    ones of its body: a status needs none, and they are most of a plan.
    """

    name: str
    kind: Literal["task", "dag", "gather"]
    target: int
    arguments: Arguments
    outputs: tuple[StoredOutput, ...]
    queue: str
    over: str | None = None
    lazy: frozenset[str] = frozenset()
    after: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    unread: Callable[[int], Arguments] = field(init=False, compare=False, repr=False)
    at: int = field(init=False, compare=False, repr=False)

    def __getattr__(self, name: str) -> Arguments:
        """Read the arguments; Python comes here for what has no value yet."""
        if name != "arguments":
            raise AttributeError(f"a step has no {name}")
        self.arguments = self.unread(self.at)
        return self.arguments


@dataclass(frozen=True, slots=True)
class Body:
    """The steps of one scope in topological order, its parameters, and what it gives back.

    `outputs` are (name, expression, codec). `returns` is the shape that `result()` gives back, None
    where outputs are given back by name. That of a deeper body is made of what its step has, as `planner.shapes` says;
    None where it is output "return_value". `queue_open` and `queue_close` carry the scope's own pieces.
    """

    params: tuple[Param, ...]
    steps: tuple[Step, ...]
    outputs: tuple[tuple[str, Expr, int], ...]
    returns: Expr | None = None
    queue_open: str = ""
    queue_close: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that workers need to know of a DAG, apart from the values of one run.

    `codecs` are JSON descriptions, number 0 the default; one of ``{"kind": "object"}`` holds the serializer
    itself under "live" in the process that planned, its pickle under "pickle" elsewhere.

    `options` has, where the DAG said so, "fail_fast" (False), "max_active_runs", "keep" ("outputs"), "sensitive" (the
    parameters that are never shown) and "hooks" (a mapping from "success", "failure" to the index of a function and its
    keyword arguments).
    """

    name: str
    bodies: tuple[Body, ...]
    functions: tuple[FunctionSpec, ...]
    codecs: tuple[Mapping[str, Any], ...]
    version: int = VERSION
    options: Mapping[str, Any] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def size(self) -> int:
        """How many bytes it takes as it is stored, once it was encoded or decoded; some ten times as many in memory."""
        return int(self.memo.get("size", 0))


KEPT_BYTES: Final = 16 * 1024 * 1024
"""Plans that a process remembers in one place are no larger together, as they are stored."""

Reading: TypeAlias = Literal["whole", "each", "spliced", "over"]

_SEQUENCES: Final = frozenset({"list", "tuple", "set"})


def size_of(plans: Iterable[Plan]) -> int:
    """Return how many bytes some plans take together, each once."""
    return sum({id(plan): plan.size for plan in plans}.values())


def parts(expr: Expr) -> Iterator[Expr]:
    """Yield the expressions that `expr` is directly made of."""
    tag = expr[0]
    if tag in _SEQUENCES:
        yield from expr[1]
    elif tag in ("splice", "part", "choice"):
        yield expr[1]
    elif tag == "dict":
        for pair in expr[1]:
            yield from pair
    elif tag == "first":
        yield from expr[1:]


def rebuilt(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Return `expr` made of its changed parts; itself if it has none."""
    tag = expr[0]
    if tag in _SEQUENCES:
        return (tag, tuple([change(item) for item in expr[1]]))
    if tag in ("splice", "part"):
        return (tag, change(expr[1]), expr[2])
    if tag == "dict":
        return (tag, tuple([(change(key), change(value)) for key, value in expr[1]]))
    if tag in ("choice", "first"):
        return (tag, *[change(item) for item in expr[1:]])
    return expr


def walk(expr: Expr) -> Iterator[Expr]:
    """Yield `expr` and everything within it, outer before inner."""
    yield expr
    for part in parts(expr):
        yield from walk(part)


def tokens(expr: Expr, *, spliced: bool = False) -> Iterator[tuple[str, Reading]]:
    """Yield every token of `expr` with the manner in which it is read, in the order of the text."""
    tag = expr[0]
    if tag == "ref":
        yield expr[1], "whole"
    elif tag == "each":
        yield expr[1], "spliced" if spliced else "each"
    else:
        for part in parts(expr):
            yield from tokens(part, spliced=spliced or tag == "splice")
        if tag == "splice":
            yield expr[2], "over"


def substituted(expr: Expr, replace: Callable[[Expr], Expr]) -> Expr:
    """Return `expr` with every ``ref``, ``each`` and ``splice`` replaced, the innermost first."""
    inner = rebuilt(expr, lambda part: substituted(part, replace))
    return replace(inner) if expr[0] in ("ref", "each", "splice") else inner


def is_constant(expr: Expr) -> bool:
    """Whether `expr` has the same value wherever it is read."""
    return next(tokens(expr), None) is None


def level(token: str) -> tuple[int, str]:
    """Return how many scopes up `token` points, and what it is called there: ``"^^3.0"`` → (2, "3.0")."""
    name = token.lstrip("^")
    return len(token) - len(name), name


def raised(token: str, levels: int) -> str:
    """Return the name by which a scope `levels` further down calls `token`."""
    return "^" * levels + token


def step_of(token: str) -> int | None:
    """Return the index of the step of this same scope that `token` belongs to; None for all others."""
    if token[0] in "^$":
        return None
    return int(token[: token.index(".")])


# Beyond this Python refuses to write an int in decimal.
_INT_BITS: Final = 10_000

_ATOMS: Final = (type(None), bool, str)


def literal(value: object) -> Expr:
    """Return the expression of a constant; only exact types count, a subclass might mean more."""
    if _is_json(value):
        return ("lit", value)
    if type(value) is list:
        return ("list", tuple(map(literal, value)))
    if type(value) is tuple:
        return ("tuple", tuple(map(literal, value)))
    if type(value) is set:
        # The order of a set changes from process to process, and the plan's digest must not.
        return ("set", tuple(map(literal, sorted(value, key=_order))))
    if type(value) is dict:
        return ("dict", tuple([(literal(key), literal(item)) for key, item in value.items()]))
    return ("live", value)


def _order(value: object) -> str:
    try:
        return hex(value) if type(value) is int else repr(value)
    except Exception:  # an int in it has too many digits, or its class cannot show it
        return shown(value)


def _is_json(value: object) -> bool:
    if type(value) in _ATOMS:
        return True
    if type(value) is int:
        return value.bit_length() < _INT_BITS
    if type(value) is float:
        return math.isfinite(value)
    if type(value) is list:
        return all(map(_is_json, value))
    if type(value) is dict:
        return all(type(key) is str and _is_json(item) for key, item in value.items())
    return False


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


def is_time_limit_retried(retry: Mapping[str, Any]) -> bool:
    """Whether another attempt follows one that was ended by its hard time limit."""
    return not _TIME_LIMIT.isdisjoint(retry["on"]) and _TIME_LIMIT.isdisjoint(retry["give_up_on"])


def codec_key(spec: Mapping[str, Any]) -> object:
    """Return what codecs that are described alike have in common."""
    if "live" not in spec or spec["kind"] == "models":
        return json.dumps({name: value for name, value in spec.items() if name != "live"}, sort_keys=True)
    live = spec["live"]
    try:
        hash(live)
    except TypeError:
        return id(live)
    # Equal ones may hold other values, and write something else; without an identity only the very object is the same.
    return live, identity(live) or id(live)


DEFAULT_QUEUE: Final = "celery"
JOINT: Final = "+"


def queue_for(taints: Collection[str], queue: str | None = None, *, default: str = DEFAULT_QUEUE) -> str:
    """Return the queue of a task with these options."""
    return queue or JOINT.join(sorted(set(taints))) or default


def queues_of(plan: Plan) -> frozenset[str]:
    """Return the queues that workers must consume for `plan` to end."""
    of_steps = {step.queue for body in plan.bodies for step in body.steps}
    return frozenset(of_steps.union(*({body.queue_open, body.queue_close} for body in plan.bodies)))
