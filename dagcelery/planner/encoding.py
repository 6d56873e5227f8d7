"""A plan travels as JSON with short keys; what JSON cannot say is pickled here, when somebody encodes.

=========  ==========================================================================================
plan       ``v`` version, ``n`` name, ``b`` bodies, ``f`` functions, ``c`` codecs, and where there are
           some ``z`` options
body       ``p`` params, ``s`` steps, ``o`` outputs, ``r`` returns, ``qo`` and ``qc`` queues
param      [name, codec, flags, default]; flags add up 1 whole, 2 split, 4 required
step       ``n`` name, ``k`` kind, ``t`` target, ``a`` arguments, ``o`` outputs, ``q`` queue, and where
           they are there ``x`` over, ``l`` lazy, ``w`` after, ``z`` options
output     [name, path, codec, flags]; flags add up 1 split, 2 iterable
function   ``m`` module, ``q`` qualname, ``h`` hash, ``y`` Python version, by value also ``b`` pickle
=========  ==========================================================================================
"""

from __future__ import annotations

import base64
import contextlib
import gc
import hashlib
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
_LEAVES: Final = frozenset({"lit", "blob", "ref", "each"})
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


def digest(plan: Plan) -> str:
    """Return the SHA-256 of the encoded plan, in hexadecimal."""
    return hashlib.sha256(encode_plan(plan)).hexdigest()


def decode_plan(data: bytes | memoryview) -> Plan:
    """Return the plan that `data` holds; nothing is imported and nothing unpickled.

    Raises PlanVersionUnsupported, and DeserializationError for what nobody encoded: unsigned plans can be written over.
    """
    try:
        with _without_collector(len(data)):
            return _plan(json.loads(bytes(data)))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = f"is none that dagcelery wrote: {type(error).__name__}: {error}"
        raise DeserializationError("what stands in the store as a plan", reason, "submit the DAG again") from error


def _encoded(plan: Plan) -> bytes:
    data: dict[str, Any] = {
        "v": plan.version,
        "n": plan.name,
        "b": [_body_data(body) for body in plan.bodies],
        "f": [_function_data(function) for function in plan.functions],
        "c": [_codec_data(codec) for codec in plan.codecs],
    }
    if plan.options:
        data["z"] = plan.options
    return json.dumps(data, separators=(",", ":")).encode()


def _plan(plan: Any) -> Plan:
    if plan["v"] != VERSION:
        raise PlanVersionUnsupported(int(plan["v"]), VERSION)
    return Plan(
        name=plan["n"],
        bodies=tuple(map(_body, plan["b"])),
        functions=tuple(map(_function, plan["f"])),
        codecs=tuple(plan["c"]),
        options=plan.get("z", {}),
    )


@contextlib.contextmanager
def _without_collector(size: int) -> Iterator[None]:
    # A million new objects, none of them garbage, are looked through again and again: four fifths of the time.
    pause = size > _LARGE_BYTES and gc.isenabled()
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
                kind = type(part[1]).__name__ if part[0] == "live" else "pickle"
                raise NotConfigured(
                    f"{culprit} is a literal of type {kind}, which needs pickle, and only signed plans may use it",
                    f"{REMEDY}, or pass values that JSON can say",
                )


def _holds_live(plan: Plan) -> bool:
    """Whether something in `plan` is pickled each time that it is encoded, and may have changed in between."""
    if any(not function.module and function.blob is None for function in plan.functions):
        return True
    if any("live" in codec for codec in plan.codecs):
        return True
    return any(part[0] == "live" for _, expr in _expressions(plan) for part in walk(expr))


def _expressions(plan: Plan) -> Iterator[tuple[str, Expr]]:
    """Yield what is computed in a plan, and what it is called in an error."""
    for body in plan.bodies:
        for step in body.steps:
            for name, expr in step.arguments:
                yield f"argument {name!r} of {step.name}", expr
        for name, expr, _ in body.outputs:
            yield f"output {name!r} of {plan.name}", expr
        for param in body.params:
            if param.default is not None:
                yield f"the default of parameter {param.name!r}", param.default
        if body.returns is not None:
            yield f"the result of {plan.name}", body.returns


def _body_data(body: Body) -> dict[str, Any]:
    return {
        "p": [_param_data(param) for param in body.params],
        "s": [_step_data(step) for step in body.steps],
        "o": [[name, _expr_data(expr), codec] for name, expr, codec in body.outputs],
        "r": None if body.returns is None else _expr_data(body.returns),
        "qo": body.queue_open,
        "qc": body.queue_close,
    }


def _body(data: Mapping[str, Any]) -> Body:
    return Body(
        params=tuple(map(_param, data["p"])),
        steps=tuple(map(_step, data["s"])),
        outputs=tuple([(name, _expr(expr), codec) for name, expr, codec in data["o"]]),
        returns=None if data["r"] is None else _expr(data["r"]),
        queue_open=data["qo"],
        queue_close=data["qc"],
    )


def _param_data(param: Param) -> list[Any]:
    flags = param.whole + 2 * param.split + 4 * param.required
    return [param.name, param.codec, flags, None if param.default is None else _expr_data(param.default)]


def _param(data: list[Any]) -> Param:
    name, codec, flags, default = data
    return Param(
        name=name,
        codec=codec,
        whole=bool(flags & 1),
        split=bool(flags & 2),
        required=bool(flags & 4),
        default=None if default is None else _expr(default),
    )


def _step_data(step: Step) -> dict[str, Any]:
    data: dict[str, Any] = {
        "n": step.name,
        "k": step.kind,
        "t": step.target,
        "a": [[name, _expr_data(expr)] for name, expr in step.arguments],
        "o": [[out.name, out.path, out.codec, out.split + 2 * out.iterable] for out in step.outputs],
        "q": step.queue,
    }
    if step.over is not None:
        data["x"] = step.over
    if step.lazy:
        data["l"] = sorted(step.lazy)
    if step.after:
        data["w"] = step.after
    if step.options:
        data["z"] = step.options
    return data


def _step(data: Mapping[str, Any]) -> Step:
    return Step(
        name=data["n"],
        kind=data["k"],
        target=data["t"],
        arguments=tuple([(name, _expr(expr)) for name, expr in data["a"]]),
        outputs=tuple([_output(output) for output in data["o"]]),
        queue=data["q"],
        over=data.get("x"),
        lazy=frozenset(data.get("l", ())),
        after=tuple(data.get("w", ())),
        options=data.get("z", {}),
    )


def _output(data: list[Any]) -> StoredOutput:
    name, path, codec, flags = data
    return StoredOutput(name, _path(path), codec, bool(flags & 1), bool(flags & 2))


def _path(data: list[Any]) -> Path:
    return tuple([(kind, key) for kind, key in data])


def _function_data(function: FunctionSpec) -> dict[str, Any]:
    data = {"m": function.module, "q": function.qualname, "h": function.hash, "y": function.python}
    if not function.module:
        blob, live = function.blob, function.live
        data["b"] = _pickle(live, function.by_value) if blob is None else base64.b64encode(blob).decode()
    return data


def _function(data: Mapping[str, Any]) -> FunctionSpec:
    blob = base64.b64decode(data["b"]) if "b" in data else None
    return FunctionSpec(data["m"], data["q"], data["h"], blob, data["y"])


def _expr_data(expr: Expr) -> Expr:
    # Tuples are arrays in JSON already: only live objects have to be replaced.
    return ("blob", _pickle(expr[1])) if expr[0] == "live" else rebuilt(expr, _expr_data)


def _expr(data: Sequence[Any]) -> Expr:
    tag = data[0]
    if tag in _LEAVES:
        return (tag, data[1])
    made = rebuilt(tuple(data), _expr)
    return (tag, made[1], _path(made[2])) if tag == "part" else made


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
