"""A plan travels as lines of JSON: an object with the names of `Plan`, and for each body the arguments of its steps.

All below the object is rows, with fields in their order. They need no names, since plans of another version are
refused. Most steps differ from others in name and arguments only: the rest is a *form*, which is written and read once.
Arguments are read when they are first asked for. Objects that JSON cannot say are pickled here, each time that a plan
is encoded.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from dagcelery import collector
from dagcelery.errors import DeserializationError, NotConfigured, PlanVersionUnsupported, SerializationError
from dagcelery.objects import is_routine
from dagcelery.payload import functions
from dagcelery.payload.models import AsModels
from dagcelery.planner.plan import (
    VERSION,
    Arguments,
    Body,
    Expr,
    FunctionSpec,
    Param,
    Path,
    Plan,
    Step,
    StoredOutput,
    rebuilt,
    walk,
)

T = TypeVar("T")

_PICKLED: Final = ("live", "blob")
_PLAIN: Final = frozenset({"lit", "ref", "each"})
_LEAVES: Final = _PLAIN | {"blob"}
_PICKLING: Final = {"pickle": "AsPickle", "dill": "AsDill"}
_text: Final = json.JSONEncoder(separators=(",", ":")).encode
REMEDY = "set DAGCELERY_SIGNING_KEY to the same value on the client and its workers"


def encode_plan(plan: Plan, *, signed: bool = True) -> bytes:
    """Return a plan as JSON; equal plans give equal bytes, and `live` objects are pickled, as they are now.

    Raises `NotConfigured` if something would have to be pickled and the bytes will not be `signed`.
    """
    if not signed:
        _refuse_pickles(plan)
    if "encoded" in plan.memo:
        data: bytes = plan.memo["encoded"]
        return data
    data = _encoded(plan)
    plan.memo["size"] = len(data)
    if not _holds_live(plan):  # such as functions by value, with all that they hold
        plan.memo["encoded"] = data
    return data


def decode_plan(data: bytes | memoryview) -> Plan:
    """Return the plan that `data` holds; nothing is imported and nothing unpickled.

    Raises PlanVersionUnsupported, and DeserializationError for other data: unsigned plans can be written over. A step
    raises the latter if what is wrong is its arguments.
    """
    plan = _read(lambda: _plan(bytes(data)))
    plan.memo["size"] = len(data)
    return plan


def _read(read: Callable[[], T]) -> T:
    try:
        with collector.paused():
            return read()
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        problem = f"was not written by dagcelery: {type(error).__name__}: {error}"
        raise DeserializationError("the plan in the store", problem, "submit the DAG again") from error


def _encoded(plan: Plan) -> bytes:
    forms = _Forms()
    data = {
        "version": plan.version,
        "name": plan.name,
        "bodies": [_body_row(body, forms) for body in plan.bodies],
        "forms": forms.rows,
        "functions": [_function_row(function) for function in plan.functions],
        "codecs": [_codec_data(codec) for codec in plan.codecs],
        "options": plan.options,
    }
    lines = [data, *([_argument_rows(step) for step in body.steps] for body in plan.bodies)]
    return "\n".join([_text(line) for line in lines]).encode()


def _plan(text: bytes) -> Plan:
    first, *others = text.split(b"\n")
    data = json.loads(first)
    if data["version"] != VERSION:
        raise PlanVersionUnsupported(int(data["version"]), VERSION)
    forms = [*map(_form, data["forms"])]
    return Plan(
        name=data["name"],
        bodies=tuple([_body(row, forms, line) for row, line in zip(data["bodies"], others, strict=True)]),
        functions=tuple(map(_function, data["functions"])),
        codecs=tuple(data["codecs"]),
        options=data["options"],
    )


def _refuse_pickles(plan: Plan) -> None:
    """Raise `NotConfigured` naming the first thing in `plan` that would travel as a pickle."""
    for function in plan.functions:
        if not function.module:
            raise NotConfigured(
                f"function {function.qualname} has to travel by value, which only signed plans may",
                f"{REMEDY}, or put it into a module that workers can import",
            )
    for codec in plan.codecs:
        if codec["kind"] in _PICKLING or codec["kind"] == "object":
            kind = _PICKLING.get(codec["kind"]) or type(codec.get("live")).__name__
            raise NotConfigured(
                f"serializer {kind} in {plan.name} needs pickle, which only signed plans may use",
                f"{REMEDY}, or serialize with AsJSON or AsMessagePack",
            )
    for culprit, expr in _expressions(plan):
        for part in walk(expr):
            if part[0] in _PICKLED:
                kind, called = type(part[1]).__name__ if part[0] == "live" else "pickle", " ".join(culprit)
                raise NotConfigured(
                    f"{called} is a literal of type {kind}, which needs pickle, which only signed plans may use",
                    f"{REMEDY}, or pass values that JSON can say",
                )


def _holds_live(plan: Plan) -> bool:
    """Whether something in `plan` is pickled each time that it is encoded, and may have changed in between."""
    if any(not function.module and function.blob is None for function in plan.functions):
        return True
    if any("live" in codec for codec in plan.codecs):
        return True
    return any(part[0] == "live" for _, expr in _expressions(plan) for part in walk(expr))


def _expressions(plan: Plan) -> Iterator[tuple[tuple[str, str], Expr]]:
    """Yield those expressions of a plan that may hold a literal that JSON cannot say, each with words for an error.

    That is, no mere tokens and literals in JSON, as most are.
    """
    for body in plan.bodies:
        for step in body.steps:
            for name, expr in step.arguments:
                if expr[0] not in _PLAIN:
                    yield (f"argument {name!r} of", step.name), expr
        for name, expr, _ in body.outputs:
            yield (f"output {name!r} of", plan.name), expr
        for param in body.params:
            if param.default is not None:
                yield ("the default of parameter", repr(param.name)), param.default
        if body.returns is not None:
            yield ("the result of", plan.name), body.returns


def _body_row(body: Body, forms: _Forms) -> list[Any]:
    return [
        [
            [param.name, param.codec, param.whole, param.split, param.required, _optional_data(param.default)]
            for param in body.params
        ],
        [step.name for step in body.steps],
        [forms.number(step) for step in body.steps],
        [[name, _expr_data(expr), codec] for name, expr, codec in body.outputs],
        _optional_data(body.returns),
        body.queue_open,
        body.queue_close,
    ]


def _body(row: list[Any], forms: Sequence[_Form], arguments: bytes) -> Body:
    params, names, numbers, outputs, returns, queue_open, queue_close = row
    return Body(
        tuple(
            [
                Param(name, codec, whole, split, required, _optional(default))
                for name, codec, whole, split, required, default in params
            ]
        ),
        tuple(_steps(names, numbers, forms, _Unread(arguments, len(names)))),
        tuple([(name, _expr(expr), codec) for name, expr, codec in outputs]),
        _optional(returns),
        queue_open,
        queue_close,
    )


_Form = tuple[Any, ...]
"""All of a step but its name and its arguments."""


class _Forms:
    """The forms of a plan's steps, each once."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []
        self._numbers: dict[str, int] = {}
        self._known: dict[_Form, int] = {}

    def number(self, step: Step) -> int:
        """Return the number of the form of a step."""
        # Many steps have the very same options; equal ones may be others, and are one form all the same.
        key = (step.kind, step.target, step.outputs, step.queue, step.over, step.lazy, step.after, id(step.options))
        number = self._known.get(key)
        if number is None:
            row = _form_row(step)
            number = self._known[key] = self._numbers.setdefault(_text(row), len(self.rows))
            if number == len(self.rows):
                self.rows.append(row)
        return number


def _form_row(step: Step) -> list[Any]:
    outputs = [[out.name, out.path, out.codec, out.split, out.iterable] for out in step.outputs]
    return [step.kind, step.target, outputs, step.queue, step.over, sorted(step.lazy), step.after, step.options]


def _form(row: list[Any]) -> _Form:
    kind, target, outputs, queue, over, lazy, after, options = row
    stored = [StoredOutput(name, _path(path), codec, split, each) for name, path, codec, split, each in outputs]
    return kind, target, tuple(stored), queue, over, frozenset(lazy), tuple(after), options


def _steps(
    names: Sequence[str], numbers: Sequence[int], forms: Sequence[_Form], unread: Callable[[int], Arguments]
) -> Iterator[Step]:
    for at, (name, number) in enumerate(zip(names, numbers, strict=True)):
        step = object.__new__(Step)  # without its arguments
        step.name, step.unread, step.at = name, unread, at
        form = forms[number]
        step.kind, step.target, step.outputs, step.queue, step.over, step.lazy, step.after, step.options = form
        yield step


def _argument_rows(step: Step) -> list[Any]:
    return [[name, _expr_data(expr)] for name, expr in step.arguments]


class _Unread:
    """The arguments of a body's steps, which are read all at once when those of one are asked for."""

    def __init__(self, text: bytes, steps: int) -> None:
        self._text = text
        self._steps = steps
        self._arguments: list[Arguments] | None = None

    def __call__(self, at: int) -> Arguments:
        text = self._text  # first: another thread may be done in between
        if self._arguments is None:
            self._arguments = _read(lambda: self._decoded(text))
            self._text = b""
        return self._arguments[at]

    def _decoded(self, text: bytes) -> list[Arguments]:
        rows = zip(range(self._steps), json.loads(text), strict=True)
        return [tuple([(name, _expr(expr)) for name, expr in row]) for _, row in rows]


def _path(data: list[Any]) -> Path:
    return tuple([(kind, key) for kind, key in data])


def _function_row(function: FunctionSpec) -> list[Any]:
    pickled = None
    if not function.module:
        blob, live = function.blob, function.live
        pickled = _pickle(live, function.by_value) if blob is None else base64.b64encode(blob).decode()
    return [function.module, function.qualname, function.hash, pickled, function.python]


def _function(row: list[Any]) -> FunctionSpec:
    module, qualname, hash, pickled, python = row
    return FunctionSpec(module, qualname, hash, None if pickled is None else base64.b64decode(pickled), python)


def _optional_data(expr: Expr | None) -> Expr | None:
    return None if expr is None else _expr_data(expr)


def _optional(data: Sequence[Any] | None) -> Expr | None:
    return None if data is None else _expr(data)


def _expr_data(expr: Expr) -> Expr:
    # Tuples are arrays in JSON already: only live objects have to be replaced.
    if expr[0] in _PLAIN:
        return expr
    return ("blob", _pickle(expr[1])) if expr[0] == "live" else rebuilt(expr, _expr_data)


def _expr(data: Sequence[Any]) -> Expr:
    tag = data[0]
    if tag in _LEAVES:
        return (tag, data[1])
    expr = rebuilt(tuple(data), _expr)
    return (tag, expr[1], _path(expr[2])) if tag == "part" else expr


def _codec_data(codec: Mapping[str, Any]) -> dict[str, Any]:
    data = dict(codec)
    if data["kind"] == "models":
        data.pop("live", None)  # readers of the plan find them by its functions
    if "live" in data:
        live = data.pop("live")
        data["pickle"] = _pickle(live, live.by_value if isinstance(live, AsModels) else ())
    return data


def _pickle(value: object, by_value: tuple[str, ...] = ()) -> str:
    try:
        return base64.b64encode(functions.pickled(cast(Any, value), by_value=by_value)).decode()
    except SerializationError as error:
        if is_routine(value):
            raise
        remedy = "pass plain data, and open files, locks and connections where they are used"
        raise SerializationError(f"a literal of type {type(value).__name__}", error.problem, remedy) from error
