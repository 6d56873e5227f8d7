"""A plan travels as JSON: an object with the names of `Plan`, and rows for all below it, with fields in their order.

Objects that JSON cannot say are pickled here, each time that a plan is encoded. Rows need no names, since plans of
another version are refused.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from dagcelery.errors import DeserializationError, NotConfigured, PlanVersionUnsupported, SerializationError
from dagcelery.objects import is_routine
from dagcelery.payload import functions
from dagcelery.payload.models import AsModels
from dagcelery.planner.plan import (
    VERSION,
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

_LARGE_BYTES = 1024 * 1024
_PICKLED: Final = ("live", "blob")
_PLAIN: Final = frozenset({"lit", "ref", "each"})
_LEAVES: Final = _PLAIN | {"blob"}
_PICKLING: Final = {"pickle": "AsPickle", "dill": "AsDill"}
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
    if not _holds_live(plan):  # such as functions by value, with all that they hold
        plan.memo["encoded"] = data
    return data


def decode_plan(data: bytes | memoryview) -> Plan:
    """Return the plan that `data` holds; nothing is imported and nothing unpickled.

    Raises PlanVersionUnsupported, and DeserializationError for other data: unsigned plans can be written over.
    """
    try:
        with without_collector(is_large=len(data) > _LARGE_BYTES):
            return _plan(json.loads(bytes(data)))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        problem = f"was not written by dagcelery: {type(error).__name__}: {error}"
        raise DeserializationError("the plan in the store", problem, "submit the DAG again") from error


def _encoded(plan: Plan) -> bytes:
    data = {
        "version": plan.version,
        "name": plan.name,
        "bodies": [_body_row(body) for body in plan.bodies],
        "functions": [_function_row(function) for function in plan.functions],
        "codecs": [_codec_data(codec) for codec in plan.codecs],
        "options": plan.options,
    }
    return json.dumps(data, separators=(",", ":")).encode()


def _plan(data: Any) -> Plan:
    if data["version"] != VERSION:
        raise PlanVersionUnsupported(int(data["version"]), VERSION)
    return Plan(
        name=data["name"],
        bodies=tuple(map(_body, data["bodies"])),
        functions=tuple(map(_function, data["functions"])),
        codecs=tuple(data["codecs"]),
        options=data["options"],
    )


@contextlib.contextmanager
def without_collector(*, is_large: bool) -> Iterator[None]:
    """Make many objects of which none is garbage: they are looked through again and again, for most of the time."""
    pause = is_large and gc.isenabled()
    if pause:
        gc.disable()
    try:
        yield
    finally:
        if pause:
            gc.enable()


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


def _body_row(body: Body) -> list[Any]:
    return [
        [
            [param.name, param.codec, param.whole, param.split, param.required, _optional_data(param.default)]
            for param in body.params
        ],
        [_step_row(step) for step in body.steps],
        [[name, _expr_data(expr), codec] for name, expr, codec in body.outputs],
        _optional_data(body.returns),
        body.queue_open,
        body.queue_close,
    ]


def _body(row: list[Any]) -> Body:
    params, steps, outputs, returns, queue_open, queue_close = row
    return Body(
        tuple(
            [
                Param(name, codec, whole, split, required, _optional(default))
                for name, codec, whole, split, required, default in params
            ]
        ),
        tuple(map(_step, steps)),
        tuple([(name, _expr(expr), codec) for name, expr, codec in outputs]),
        _optional(returns),
        queue_open,
        queue_close,
    )


def _step_row(step: Step) -> list[Any]:
    return [
        step.name,
        step.kind,
        step.target,
        [[name, _expr_data(expr)] for name, expr in step.arguments],
        [[out.name, out.path, out.codec, out.split, out.iterable] for out in step.outputs],
        step.queue,
        step.over,
        sorted(step.lazy),
        step.after,
        step.options,
    ]


def _step(row: list[Any]) -> Step:
    name, kind, target, arguments, outputs, queue, over, lazy, after, options = row
    return Step(
        name,
        kind,
        target,
        tuple([(key, _expr(expr)) for key, expr in arguments]),
        tuple([StoredOutput(key, _path(path), codec, split, each) for key, path, codec, split, each in outputs]),
        queue,
        over,
        frozenset(lazy),
        tuple(after),
        options,
    )


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
