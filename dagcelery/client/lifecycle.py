"""The life of a run in its client's hands: it is submitted, ended from outside, and taken up again.

A decorated function, a DAG, a task, or a name becomes a plan, and with parameters a run that is started. Parameters are
checked against the plan and sealed before anything is written.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast

from dagcelery import bounded, objects
from dagcelery.client.places import find_place
from dagcelery.engine.io import Reader, Sealed, Writer, as_taken
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView
from dagcelery.errors import (
    BrokerUnavailable,
    CodeMismatch,
    CodeUnknown,
    DagceleryError,
    FunctionNotFound,
    InvalidDag,
    InvalidDagType,
    InvalidParameters,
    KeyReused,
    NotResumable,
    NotSent,
    RunNotFound,
    SerializationError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from dagcelery.importing import Unimportable, import_named
from dagcelery.model import DAG, Buildable, Task
from dagcelery.model.buildable import is_buildable, not_buildable
from dagcelery.model.options import IfFailed
from dagcelery.objects import portable_identity
from dagcelery.payload import addresses, fingerprints, functions, values
from dagcelery.payload.fingerprints import code_hash, is_comparable, same_code, why_not_comparable
from dagcelery.planner.compile import plan as make_plan
from dagcelery.planner.encoding import encode_plan
from dagcelery.planner.plan import KEPT_BYTES, Body, FunctionSpec, Param, Plan, size_of
from dagcelery.planner.topology import topology
from dagcelery.settings import Settings
from dagcelery.store.records import ROOT, Lost, NewRun, RunRecord, Scope, Spot
from dagcelery.text import HIDDEN, brief, nearest, shown, word


def check(name: str, body: Body, params: Mapping[str, object]) -> None:
    """Raise InvalidParameters unless `params` names what the DAG takes. Values are not compared with annotations."""
    expected = [param.name for param in body.params]
    if not isinstance(params, Mapping):
        raise InvalidParameters(f"parameters of '{name}'", f"are {shown(params)}, not a mapping", "give a dict by name")
    for unknown in params:
        if unknown not in expected:
            takes = f"it takes {expected}" if expected else "it takes no parameters"
            remedy = nearest(unknown, expected) or takes
            raise InvalidParameters(f"parameter '{word(unknown)}' of '{name}'", "does not exist", remedy)
    missing = [param.name for param in body.params if param.required and param.name not in params]
    if missing:
        problem = f"missing {missing}; expected {expected}, got {shown(list(params))}"
        raise InvalidParameters(f"parameters of '{name}'", problem, "give every parameter that has no default")


def settled(view: RunView, params: Mapping[str, object]) -> Mapping[str, object]:
    """Return parameters that can be read more than once: what can be read only once becomes a list, as it travels."""
    body = view.program.plan.bodies[0]
    check(view.program.plan.name, body, params)
    by_name = {param.name: param for param in body.params}

    def one(param: Param, value: object) -> object:
        if isinstance(value, Iterator) and param.split:
            return objects.listed(value)
        return as_taken(view.program.codec(param.codec), value)

    return {name: one(by_name[name], value) for name, value in params.items()}


_NOTHING: Final[Mapping[str, object]] = {}

_MOST_PARAMETERS = 50
"""How many parameters of a run are shown."""


def shown_params(
    view: RunView, params: Mapping[str, object], static: Mapping[str, object] = _NOTHING
) -> Mapping[str, str]:
    """Return the parameters of a run as people are shown them, static ones in front, without what is sensitive."""
    plan, reader = view.program.plan, Reader(view, Scope(ROOT))
    hidden = plan.options.get("sensitive", ())
    shown_values = {**static}
    for param in plan.bodies[0].params:
        if param.name in params:
            shown_values[param.name] = params[param.name]
        elif param.default is not None and param.name not in hidden:
            shown_values[param.name] = reader.evaluate(param.default)
    first = list(shown_values.items())[:_MOST_PARAMETERS]
    return {name: HIDDEN if name in hidden else brief(value) for name, value in first}


def seal(view: RunView, params: Mapping[str, object]) -> Sealed:
    """Check and seal parameters in the forms that their readers need; a parameter not given takes its default."""
    plan = view.program.plan
    body = plan.bodies[0]
    check(plan.name, body, params)
    sealed, writer, reader = Sealed(), Writer(view, ROOT, 0), Reader(view, Scope(ROOT))
    for param in body.params:
        if not (param.whole or param.split):
            continue
        default = param.default
        value = params[param.name] if param.name in params or default is None else reader.evaluate(default)
        culprit, codec = f"parameter '{param.name}'", view.program.codec(param.codec)
        if param.split and param.whole and isinstance(value, Iterator):
            value = objects.listed(value)  # it can be read once
        try:
            if param.whole:
                writer.taken(sealed, f"${param.name}", codec, value, culprit)
            if param.split:
                writer.split(sealed, f"${param.name}", codec, value, culprit)
        except SerializationError:
            if param.name not in plan.options.get("sensitive", ()):
                raise
            problem = "cannot be serialized, and is sensitive, so that it is not shown why"
            raise SerializationError(culprit, problem, "give plain data, or another serializer") from None
    return sealed


Submittable = Buildable[..., Any] | DAG | Task | str


def deadline_of(dag: DAG | Task) -> float | None:
    """Return how many seconds a run of this DAG may take, or None."""
    return dag.options.deadline if isinstance(dag, DAG) else None


def split_static(
    node: Submittable, params: Mapping[str, object]
) -> tuple[Submittable, Mapping[str, object], Mapping[str, object]]:
    """Build the DAG of the static parameters; return it, the parameters of the run, and all static values."""
    node = _imported(node) if isinstance(node, str) else node
    if isinstance(node, type) or not isinstance(params, Mapping):
        return node, params, {}  # dag_of or check refuses it
    static = {name: params[name] for name in getattr(node, "static", ()) if name in params}
    values = {**getattr(node, "static_values", {}), **static}
    if not static:
        return node, params, values
    dag: DAG = node.__dag__(**static)  # type: ignore[union-attr]
    return dag, {name: value for name, value in params.items() if name not in static}, values


def dag_of(node: Submittable) -> DAG | Task:
    """Return the model of a decorated function, a DAG, a Task, or ``"module:name"``."""
    if isinstance(node, str):
        return dag_of(_imported(node))
    if isinstance(node, DAG | Task):
        return node
    if is_buildable(node):
        return node.__dag__()
    raise not_buildable(
        node, "it is neither a DAG nor a task", "decorate the function with @dag or @task, or build a DAG(...)"
    )


def _imported(text: str) -> Submittable:
    try:
        return cast(Submittable, import_named(text))
    except Unimportable as error:
        kind = InvalidDagType if error.__cause__ is None else InvalidDag  # the text itself is wrong, or its module is
        raise kind(f"'{text}'", error.problem, error.remedy) from error.__cause__


def plan_of(node: Submittable, *, queue: str = "celery", settings: Settings | None = None) -> Plan:
    """Return the plan of a DAG, made once for each DAG object, as long as workers find its functions as it says."""
    dag, chosen = dag_of(node), settings or Settings()
    terms = (queue, chosen.serializer, chosen.max_nodes)
    kept = _plans.get(id(dag))
    if kept is None or kept[0] is not dag or kept[1] != terms or not all(map(_is_so, kept[2].functions)):
        plan = make_plan(dag, serializer={"kind": chosen.serializer}, queue=queue, max_nodes=chosen.max_nodes)
        kept = bounded.put(_plans, id(dag), (dag, terms, plan), _KEPT_PLANS, size=_size, most_size=KEPT_BYTES)
    return kept[2]


def _is_so(spec: FunctionSpec) -> bool:
    """Whether a function is still found as a plan says: its code may be another, and so may be what has its name."""
    if spec.live is None:
        return True
    now = functions.describe(spec.live, by_value=spec.by_value)
    return (now["module"], now["qualname"]) == (spec.module, spec.qualname) and spec.hash in ("", now["hash"])


_KEPT_PLANS: Final = 128

_Kept: TypeAlias = tuple[DAG | Task, tuple[str, str, int], Plan]

_plans: dict[int, _Kept] = {}


def _size(kept: Collection[_Kept]) -> int:
    return size_of(plan for _, _, plan in kept)


_PICKLING: Final = frozenset({"pickle", "dill"})
"""Codecs that write one value as other bytes in another process, sets for one."""


def new_run(
    control: RunControl,
    plan: Plan,
    params: Mapping[str, object],
    settings: Settings,
    *,
    deadline: float | None = None,
    key: str | None = None,
    static: Mapping[str, object] = _NOTHING,
) -> NewRun:
    """Return a run of a plan with its parameters, sealed, but not written yet. `static` values shaped the plan."""
    control.sender.check(plan)
    text = encode_plan(plan, signed=control.keyring.signed)
    run_id = uuid.uuid4().hex
    view = control.adopt(run_id, plan)
    if key is not None:
        params = settled(view, params)
    sealed = seal(view, params)
    return NewRun(
        id=run_id,
        name=plan.name,
        plan=values.seal_bytes(control.keyring, addresses.plan(run_id), 0, text),
        topology=topology(plan),
        values=sealed.values,
        lists=sealed.lists,
        blocks=sealed.blocks,
        ttl_seconds=settings.ttl_seconds,
        deadline_seconds=deadline,
        held="key" if key is not None else "limit" if "max_active_runs" in plan.options else "",
        reservation="" if key is None else json.dumps([plan.name, key]),
        fingerprint="" if key is None else fingerprint(view, params, static),
        shown=shown_params(view, params, static),
    )


def fingerprint(view: RunView, params: Mapping[str, object], static: Mapping[str, object]) -> str:
    """Return a digest by which parameters are recognised when a key is used again.

    It is made of what travels of them, and of the static values that shaped the DAG.
    """
    codecs = {param.name: param.codec for param in view.program.body(0).params}
    parts = {name: _distinguished(view, codecs[name], value) for name, value in params.items()}
    parts |= {name: _recognised(name, value) for name, value in static.items()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _recognised(name: str, value: object) -> str:
    identity = portable_identity(value, fingerprints.name_of)
    if identity is None:  # two such values would be one
        problem = "cannot be recognised when the key is used again, since it cannot be pickled"
        raise InvalidParameters(f"static parameter {name!r}", problem, "give a value that can be, or leave key= out")
    return identity


def _distinguished(view: RunView, number: int, value: object) -> object:
    """Return JSON that differs if other bytes would travel; those of pickle differ from process to process anyway."""
    kind = view.program.codec_specs[number]["kind"]
    identity = portable_identity(value, fingerprints.name_of) if kind in _PICKLING else None
    if identity is not None:
        return identity
    try:
        data = view.program.codec(number).dump(value)
    except SerializationError:  # its elements travel one by one, or it is not read at all
        return portable_identity(value, fingerprints.name_of)
    return json.loads(data) if kind == "json" else hashlib.sha256(data).hexdigest()


# -- starting a run ----------------------------------------------------------------------------
_UNSENT: Final = "its first message could not be sent"
_NEVER_BEGUN: Final = (_UNSENT, "its submitter went away before it could start")
"""Why a run was cancelled that gives way to the next one with its key; the store says the second (lua/sweep.lua)."""


def start(control: RunControl, run: NewRun, key: str | None, if_failed: IfFailed = "return") -> str:
    """Write a run, then send its first messages; return its id, or that of the run that has its key.

    Raises KeyReused, StoreUnavailable, BrokerUnavailable, NotSent; where the run of the key is to be resumed, what
    `resume` raises.
    """
    try:
        reply = control.store.machine.create(run)
        winner = run.id if key is None else _reserve(control, run, replaces_failed=if_failed == "new")
    except (StoreFull, StoreRefused):
        with suppress(StoreUnavailable):
            control.delete(run.id)  # parts of it may have found room
        raise
    if key is not None:
        return _start_first(control, run, winner, key, if_failed)
    if run.held:
        _send(control, run.id, control.try_start)
    else:
        _send(control, run.id, lambda run_id: control.sender.start(control.view(run_id), reply.opened, is_new=True))
    return run.id


def _start_first(control: RunControl, run: NewRun, winner: str, key: str, if_failed: IfFailed) -> str:
    """Start the run that has the key, which is there, but held; of several submitters one has won, all get its run.

    A process that dies before the run is admitted leaves it to the next submitter, or to a sweep, which ends it.
    """
    if winner == run.id:  # or another has admitted it meanwhile, and it gets a message more
        _send(control, winner, lambda run_id: _admit(control, run_id))
        return winner
    control.delete(run.id)
    record = control.store.reader.record(winner)
    if record is not None and record.fingerprint and run.fingerprint not in ("", record.fingerprint):
        raise KeyReused(key, winner, run.name)
    if record is not None and record.held == "key":
        _send(control, winner, lambda run_id: _admit(control, run_id))
    elif record is not None and record.has_failed and if_failed == "resume":
        _resume_once(control, record, run.deadline_seconds)
    return winner


def _resume_once(control: RunControl, record: RunRecord, deadline_seconds: float | None) -> None:
    """Resume a run that was found to have failed; another submitter that has found the same may be faster."""
    try:
        _go_on(control, record.id, deadline_seconds, allow_code_change=False, epoch=record.epoch)
    except NotResumable:
        return


def _admit(control: RunControl, run_id: str) -> None:
    """Start a run that has its key, unless it has to wait for others of its DAG."""
    if not control.try_start(run_id):
        control.store.machine.admit(run_id, still="limit")


def _reserve(control: RunControl, run: NewRun, *, replaces_failed: bool) -> str:
    """Return the run that has this run's key: itself, unless another one that counts has it.

    Of several that replace a failed run one wins: each replaces at most the one that it has met first.
    """
    machine, gone, never_begun = control.store.machine, "", ""
    while (winner := machine.reserve(run.reservation, run.id, run.ttl_seconds, instead_of=gone)) != run.id:
        record = control.store.reader.record(winner)
        if record is not None and record.state == "cancelled" and record.reason.startswith(_NEVER_BEGUN):
            never_begun = winner
        elif record is not None:
            if not (replaces_failed and record.has_failed):
                return winner
            replaces_failed = False
        gone = winner
    if never_begun:
        control.delete(never_begun)
    return winner


def _send(control: RunControl, run_id: str, send: Callable[[str], object]) -> None:
    """Send messages of a run that is in the store, and cancel it if they cannot be sent."""
    try:
        send(run_id)
    except Exception as error:
        control.store.machine.end(run_id, "cancelled", f"{_UNSENT}: {error}")
        cancelled = f"run {run_id} was cancelled, because {_UNSENT}"
        if isinstance(error, BrokerUnavailable):
            raise BrokerUnavailable(f"{cancelled}: {error.reason}", error.url) from error
        if isinstance(error, NotSent):
            raise NotSent(f"{cancelled}: {error.problem}", error.remedy) from error
        raise


# -- ending a run, and taking it up again ---------------------------------------------------------
_ALL_THE_SAME = "to go on anyway, pass allow_code_change=True, or dagcelery resume --allow-code-change"


def cancel(control: RunControl, run_id: str, reason: str, *, terminate: bool) -> str:
    """End a run that is not over as cancelled, and revoke the messages that work on it; return its state."""
    working = control.store.reader.messages(run_id)
    reply = control.store.machine.end(run_id, "cancelled", reason)
    if reply.run == "gone":
        raise RunNotFound(run_id)
    if reply.run == "cancelled":
        with control.leaving_to_sweeps(run_id):
            control.sender.revoke(working, terminate=terminate)
        control.ended(run_id, reply.opened, reply.run, reply.lasted)
    return reply.run


def resume(control: RunControl, run_id: str, deadline_seconds: float | None, *, allow_code_change: bool) -> None:
    """Let a run that failed, was cancelled or timed out go on where it stopped.

    Raises RunNotFound, NotResumable, CodeMismatch, CodeUnknown.
    """
    record = control.record(run_id)
    if not record.is_over or record.state == "done":
        raise NotResumable(run_id, record.state)
    _go_on(control, run_id, deadline_seconds, allow_code_change=allow_code_change)


def retry_from(
    control: RunControl, run_id: str, address: str, deadline_seconds: float | None, *, allow_code_change: bool
) -> None:
    """Execute a node, or items of it, of a run that is over again, and all that depends on it.

    Raises what `resume` does, and InvalidParameters.
    """
    record, view = control.record(run_id), control.view(run_id)
    view.look(record.epoch)
    place = find_place(view, address)
    if not record.is_over:
        raise NotResumable(run_id, record.state)
    _go_on(control, run_id, deadline_seconds, allow_code_change=allow_code_change, cleared=[place])


def _go_on(
    control: RunControl,
    run_id: str,
    deadline_seconds: float | None,
    *,
    allow_code_change: bool,
    cleared: Sequence[Spot] = (),
    epoch: int | None = None,
) -> None:
    """Clear places, open a new epoch of a run, and send messages for what is ready then.

    Where an `epoch` is given, only if the run is still in that one.
    """
    view, machine = control.view(run_id), control.store.machine
    if not allow_code_change and control.settings.code_mismatch != "ignore":
        check_code(view, control.imports)
    is_cleared = not cleared or machine.clear(run_id, cleared)
    if not is_cleared or not machine.resume(run_id, deadline_seconds, epoch):
        raise NotResumable(run_id, control.record(run_id).state)
    if not control.quotas.enter(view):
        machine.admit(run_id, still="limit")
    swept = machine.sweep(run_id, Lost(), control.settings.dead_seconds, control.settings.max_deaths)
    for queue in swept.wake_ups:
        messages = machine.wake_ups(run_id, queue, control.sender.slots(queue))
        control.sender.wake_up(run_id, queue, max(1, messages))


def check_code(view: RunView, imports: Collection[str]) -> None:
    """Refuse to mix results of old code with those of new: compare the functions of this process with the plan's.

    A function that cannot be looked at here is refused as well. The road not taken is to leave it to the workers: they
    warn in their logs at best, once the results are mixed. Functions by value travel with their plan, and those without
    a hash are dagcelery's own.
    """
    if view.program.may_grow:
        progress = view.store.reader.progress(view.run_id)
        grown = sorted(body for body in progress.scopes if not view.is_planned(body)) if progress else []
        deque(view.scopes_of(grown), maxlen=0)  # has their plans at hand
    for spec in view.program.function_specs:
        if spec.module and spec.hash:
            _check_function(view, spec, imports)


def _check_function(view: RunView, spec: FunctionSpec, imports: Collection[str]) -> None:
    name = f"{spec.module}:{spec.qualname}"
    try:
        here = code_hash(functions.load(spec, imports=imports, keyring=view.keyring))
    except DagceleryError as error:
        reason = error.reason if isinstance(error, FunctionNotFound) else str(error)
        raise CodeUnknown(name, spec.hash, reason, _ALL_THE_SAME) from error
    if not is_comparable(spec.hash, here):
        raise CodeUnknown(name, spec.hash, why_not_comparable(spec.hash, spec.python), _ALL_THE_SAME)
    if not same_code(spec.hash, here):
        raise CodeMismatch(name, spec.hash, here, _ALL_THE_SAME)
