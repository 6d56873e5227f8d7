"""Runs in this process, on a store in memory. The workers' engine executes them: they differ in speed, not in meaning.

Messages are a list, which a loop delivers one by one, so no depth is too deep. `invoke` makes such a run, with values
or with serialized files. One node of a DAG, however deep it is nested, is run as a DAG of its own: its inputs are the
parameters.
"""

from __future__ import annotations

import heapq
import os
import secrets
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagcelery.client import following, lifecycle
from dagcelery.client.files import OutputFile, PartitionedOutput, PendingOutputs, check_free, path_of, read
from dagcelery.client.lifecycle import Submittable, dag_of, plan_of, split_static
from dagcelery.engine.hooks import Listener
from dagcelery.engine.io import Reader
from dagcelery.engine.run_view import RunView
from dagcelery.errors import InvalidLocation, InvalidParameters
from dagcelery.model import (
    DAG,
    DagOptions,
    Each,
    FromNodeOutput,
    FromParam,
    Literal,
    Node,
    Serializer,
    Source,
    Task,
    fan_source,
)
from dagcelery.model.sources import reads
from dagcelery.payload.codecs import AsJSON, AsPickle, Codec
from dagcelery.payload.signing import Keyring
from dagcelery.planner.compile import as_dag, default_of
from dagcelery.planner.pools import output_serializer
from dagcelery.planner.topology import topology
from dagcelery.settings import Settings
from dagcelery.store.in_process import store_in_process
from dagcelery.store.records import HOOK, ROOT, Claim, NewRun, ReadyStep, Response, RunState, Scope, TaskResult
from dagcelery.text import choices, shown
from dagcelery.tracebacks import shortened
from dagcelery.worker.process import CeleryProcess

if TYPE_CHECKING:
    from dagcelery.engine.worker_loop import Engine

_FOR_EVER = 1e10
"""Seconds."""


class InMemoryBroker:
    """A `Sender` that keeps messages until they are delivered to the engine of this process."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, str]] = deque()
        self._later: list[tuple[float, str, str]] = []

    def start(self, view: RunView, opened: Sequence[ReadyStep], *, is_new: bool = False) -> None:
        """Keep one message for each queue, which is enough for a single worker."""
        for queue in dict.fromkeys(step.queue for step in opened):
            self._waiting.append((view.run_id, queue))

    def wake_up(self, run_id: str, queue: str, count: int, delay_seconds: float = 0.0) -> None:
        """Keep a message until it is due."""
        if delay_seconds:
            heapq.heappush(self._later, (time.monotonic() + delay_seconds, run_id, queue))
        else:
            self._waiting.append((run_id, queue))

    def revoke(self, messages: Sequence[str], *, terminate: bool) -> None:
        """Do nothing: no other process works on them."""

    def slots(self, queue: str) -> int:
        """Return 1, for this process."""
        return 1

    def deliver(self, engine: Engine) -> None:
        """Deliver messages, and those that they cause, until there are none."""
        while self._waiting or self._later:
            if self._waiting:
                engine.work(*self._waiting.popleft())
            else:
                due, run_id, queue = heapq.heappop(self._later)
                time.sleep(max(0.0, due - time.monotonic()))
                self._waiting.append((run_id, queue))


def eager_settings(settings: Settings) -> Settings:
    """Return settings for a process that hands work to no other: it works on a run for as long as there is work.

    Nothing is spilled, since the store goes with the process, and no sweep would remove the files.
    """
    return replace(settings, slice_seconds=_FOR_EVER, handoff_seconds=_FOR_EVER, spill_url="")


_KEY = secrets.token_hex(16)
"""Of this process, so that its runs may take results of each other from the cache."""


class FirstError(Listener):
    """The first error of a run that stands; it becomes the cause of what the run raises."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        """Keep the first error after which nothing was tried; the one of a hook fails no run."""
        if self.error is None and response.state == "committed" and claim.step != HOOK:
            self.error = result.error
        return result.error is self.error


class LocalRun:
    """A run that has not begun; it is signed with a key of this process alone, so every codec is allowed."""

    def __init__(self, node: Submittable, settings: Settings) -> None:
        from dagcelery.engine.worker_loop import Engine  # late: a process that submits to workers needs none

        self.first = FirstError()
        self._broker = InMemoryBroker()
        self.engine = Engine(
            store_in_process(),
            Keyring.parse(_KEY),
            eager_settings(settings),
            self._broker,
            process=CeleryProcess(),
            listener=self.first,
        )
        self.run_id = uuid.uuid4().hex
        self.plan = plan_of(node, queue="celery", settings=settings)
        self._view = self.engine.adopt(self.run_id, self.plan, is_alone=True)

    def codec(self, number: int) -> Codec:
        """Return a codec of the plan."""
        return self._view.program.codec(number)

    def run(self, params: Mapping[str, object], static: Mapping[str, object] | None = None) -> None:
        """Run to the end, also if that is a failure. Where `static` parameters are given, all are kept to be shown.

        Raises InvalidParameters, SerializationError.
        """
        sealed = lifecycle.seal(self._view, params)
        plan = self.plan
        run = NewRun(self.run_id, plan.name, b"", topology(plan), sealed.values, sealed.lists, sealed.blocks)
        if static is not None:
            run = replace(run, shown=lifecycle.shown_params(self._view, params, static))
        self._broker.start(self._view, self.engine.store.machine.create(run).opened)
        self.deliver()

    def deliver(self) -> None:
        """Do what there are messages for."""
        self._broker.deliver(self.engine)

    def result(self) -> Any:
        """Return or raise what came of it."""
        return following.outcome(self.engine, self.run_id, self._state(), cause=self.first.error)

    def raise_failure(self) -> None:
        """Raise what failed it, if anything did."""
        if self._state() is not RunState.DONE:
            self.result()

    def _state(self) -> RunState:
        return RunState(self.engine.record(self.run_id).state)

    def output(self, name: str, *, lazy: bool = False) -> Any:
        """Return an output by name; `lazy`: the elements of a list are read as they are asked for."""
        return self._reader.evaluate(self._expressions[name], lazy=lazy)

    @cached_property
    def _expressions(self) -> dict[str, Any]:
        return {name: expr for name, expr, _ in self.plan.bodies[0].outputs}

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._view, Scope(ROOT))


# -- one node of a DAG ----------------------------------------------------------------------------
@dataclass(frozen=True)
class EnclosingDag:
    """The DAG that a node stands in: `around` is the DAG that it is a node of itself, if it is."""

    dag: DAG
    around: EnclosingDag | None = None

    @property
    def serializer(self) -> Serializer | None:
        """The serializer of values that name none; None is the one of the settings."""
        return self.dag.options.serializer or (self.around.serializer if self.around else None)


def found_at(node: Node, address: str) -> tuple[Node, EnclosingDag | None]:
    """Return the node that ``a.b`` names in a DAG, and the DAG that it is a node of.

    Raises InvalidParameters.
    """
    place: EnclosingDag | None = None
    names = address.split(".")
    for depth, name in enumerate(names):
        culprit = f"node '{address}'"
        if isinstance(node, Task):
            inside = f"'{'.'.join(names[:depth])}'" if depth else "this"
            raise InvalidParameters(culprit, f"{inside} is a task, which has no nodes within", "name the task itself")
        if name not in node.nodes:
            inside = f"DAG '{'.'.join(names[:depth])}'" if depth else "this DAG"
            raise InvalidParameters(culprit, f"{inside} has no node '{name}'", choices(name, node.nodes))
        place, node = EnclosingDag(node, place), node.nodes[name]
    return node, place


def alone(node: Node, place: EnclosingDag | None) -> DAG:
    """Return a DAG that does what a node does, once. What it is given is read as the node's writers write it.

    A literal, or the default of an input, is the default of its parameter.
    """
    if place is None:
        return node if isinstance(node, DAG) else as_dag(node)
    inputs = {name: _parameter(source, name, place) for name, source in node.inputs.items()}
    if isinstance(node, DAG):
        options = DagOptions(serializer=node.options.serializer or place.serializer)
        return DAG(node.nodes, inputs, node.outputs, name=node.name, options=options, returns=node.returns)
    dag = as_dag(node)
    options = DagOptions(serializer=place.serializer)
    return DAG(dag.nodes, inputs, dag.outputs, name=dag.name, options=options)


def is_partitioned(source: Source, dag: DAG) -> bool:
    """Whether an output of a DAG is a list that is made, or taken, by element."""
    if not isinstance(source, FromNodeOutput):
        return False
    node = dag.nodes[source.node]
    if fan_source(node) is not None:
        return True
    if isinstance(node, Task):
        return node.outputs[source.output].is_partitioned
    return is_partitioned(node.outputs[source.output], node)


def _parameter(source: Source, name: str, place: EnclosingDag) -> FromParam:
    return FromParam(None, default_of(source), _serializer(source, name, place))


def _serializer(source: Source, name: str, place: EnclosingDag) -> Serializer | None:
    """Return how the value of an input is written in its DAG; None is as the settings say."""
    match source:
        case FromParam() | FromNodeOutput() if source.serializer is not None:
            return source.serializer
        case FromParam():
            return _of_parameter(source.name or name, place)
        case FromNodeOutput():
            return _of_output(source, place)
        case Each():
            return _serializer(source.source, name, place)
        case _:
            # A serializer for one kind of object says nothing about what holds such objects.
            parts = [_serializer(read, name, place) for read in reads(source)]
            is_plain = all(part in (None, AsJSON(), place.serializer) for part in parts)
            return place.serializer if is_plain else AsPickle()


def _of_parameter(name: str, place: EnclosingDag) -> Serializer | None:
    declared = place.dag.inputs.get(name)
    if declared is None or isinstance(declared, Literal):
        return place.serializer
    if place.around is not None:
        return _serializer(declared, name, place.around)
    return getattr(declared, "serializer", None) or place.serializer


def _of_output(source: FromNodeOutput, place: EnclosingDag) -> Serializer | None:
    node = place.dag.nodes[source.node]
    if isinstance(node, Task):
        return output_serializer(node.outputs[source.output], node.options) or place.serializer
    return _serializer(node.outputs[source.output], source.output, EnclosingDag(node, place))


Stored = OutputFile | PartitionedOutput

Location = str | os.PathLike[str]


# -- invoking -------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class ReturnDeserializedOutputs:
    """Let `invoke` return a mapping of each output's name to its value."""


@dataclass(frozen=True, slots=True)
class StoreSerializedOutputsInPath:
    """Let `invoke` write each output to a file of its name in a folder, which is made if it is not there.

    A list that is made by element, by a fan-out say, becomes a folder with a file for each element. `invoke` returns a
    mapping of each output's name to an `OutputFile`, or a `PartitionedOutput`.
    """

    path: Location


Outputs = ReturnDeserializedOutputs | StoreSerializedOutputsInPath


@shortened
def invoke(node: Submittable, params: Mapping[str, object] | None = None, outputs: Outputs | None = None) -> Any:
    """Run a DAG or a task in this process, without Celery and Redis, and return its value.

    With `outputs` it returns a mapping of outputs by name instead: to values, or to files that it writes.

    Raises what `submit` raises before it writes, NodeFailed with the original error as its cause, and InvalidLocation.
    """
    if not isinstance(outputs, Outputs | None):
        remedy = "give ReturnDeserializedOutputs() or StoreSerializedOutputsInPath('folder')"
        raise InvalidParameters(f"outputs={shown(outputs)}", "does not say what to do with outputs", remedy)
    node, params, _ = split_static(node, {} if params is None else params)
    if outputs is None:
        local_run = LocalRun(node, Settings.from_environment())
        local_run.run(params)
        return local_run.result()
    dag = alone(dag_of(node), None)
    local_run = LocalRun(dag, Settings.from_environment())
    if isinstance(outputs, StoreSerializedOutputsInPath):
        return _stored(local_run, dag, params, _in_folder(dag, outputs.path))
    local_run.run(params)
    local_run.raise_failure()
    return {name: local_run.output(name) for name in dag.outputs}


def invoke_with_locations(
    node: Submittable,
    params: Mapping[str, object] | None = None,
    *,
    node_name: str = "",
    inputs: Mapping[str, Location] | None = None,
    outputs: Mapping[str, Location] | None = None,
) -> Any:
    """Run a DAG, or the node of it that ``a.b`` names, in this process, with inputs that are read from files.

    With `outputs`, which must name all there are, these are written to files, all or none of them, and a mapping like
    that of StoreSerializedOutputsInPath is returned; without, the value is. An input that is a folder is a list.

    Raises InvalidParameters for unknown and missing names, InvalidLocation for what cannot be read or written,
    DeserializationError, and what `invoke` raises.
    """
    node, params, _ = split_static(node, {} if params is None else params)
    if not isinstance(node_name, str):
        raise InvalidParameters(
            f"node_name={shown(node_name)}", "is not a str", 'give names with dots between, such as "a.b"'
        )
    dag = alone(*found_at(dag_of(node), node_name)) if node_name else alone(dag_of(node), None)
    local_run = LocalRun(dag, Settings.from_environment())
    culprit = f"node '{node_name}'" if node_name else f"'{local_run.plan.name}'"
    sources = _paths(inputs or {}, "input")
    targets = None if outputs is None else _paths(outputs, "output")
    _check_inputs(local_run, culprit, params, sources)
    if targets is not None:
        _check_outputs(dag, culprit, targets)
    params = {**params, **_read(local_run, sources)}
    if targets is not None:
        return _stored(local_run, dag, params, targets)
    local_run.run(params)
    return local_run.result()


def _paths(locations: object, kind: str) -> dict[str, Path]:
    """Return the locations of inputs or outputs by name."""
    if not isinstance(locations, Mapping):
        remedy = "give a mapping of names to paths, such as {'x': 'x.json'}"
        raise InvalidParameters(f"{kind}s={shown(locations)}", f"does not say where each {kind} is", remedy)
    return {name: path_of(location, f"{kind} '{name}'") for name, location in locations.items()}


def _check_names(kind: str, culprit: str, names: Iterable[str], expected: Iterable[str], missing: list[str]) -> None:
    """Raise InvalidParameters for names that do not exist, and for those that are `missing`."""
    for name in names:
        if name not in expected:
            problem, remedy = "does not exist", choices(name, expected)
            raise InvalidParameters(f"{kind} '{name}' of {culprit}", problem, remedy)
    if missing:
        problem = f"missing {missing}; expected {list(expected)}, got {sorted(names)}"
        remedy = f"name a file for each that has no default: --{kind} NAME=FILE"
        raise InvalidParameters(f"{kind}s of {culprit}", problem, remedy)


def _check_inputs(local_run: LocalRun, culprit: str, params: Mapping[str, object], sources: Mapping[str, Path]) -> None:
    for name in sources:
        if name in params:
            problem = "is given twice, as a value and as a file"
            raise InvalidParameters(f"input '{name}' of {culprit}", problem, "give one")
    required = {param.name: param.required for param in local_run.plan.bodies[0].params}
    missing = [name for name in required if required[name] and name not in sources and name not in params]
    _check_names("input", culprit, sources, required, missing)


def _check_outputs(dag: DAG, culprit: str, targets: Mapping[str, Path]) -> None:
    _check_names("output", culprit, targets, dag.outputs, [name for name in dag.outputs if name not in targets])
    taken: dict[str, str] = {}
    for name, target in targets.items():
        check_free(target, f"output '{name}'")
        other = taken.setdefault(os.path.realpath(target), name)
        if other != name:
            problem = f"output '{other}' goes there too"
            raise InvalidLocation(f"output '{name}': {target}", problem, "name another location")


def _read(local_run: LocalRun, sources: Mapping[str, Path]) -> dict[str, Any]:
    codecs = {param.name: local_run.codec(param.codec) for param in local_run.plan.bodies[0].params}
    return {name: read(codecs[name], location, f"input '{name}'") for name, location in sources.items()}


def _in_folder(dag: DAG, path: Location) -> dict[str, Path]:
    """Return where each output goes in a folder, which is made if it is not there."""
    folder = path_of(path, "the folder for outputs")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot be made: {error.strerror or error}"
        raise InvalidLocation(f"the folder {folder} for outputs", problem, "name another one") from error
    targets = {name: folder / name for name in dag.outputs}
    for name, target in targets.items():
        check_free(target, f"output '{name}'")
    return targets


def _stored(
    local_run: LocalRun, dag: DAG, params: Mapping[str, object], targets: Mapping[str, Path]
) -> dict[str, Stored]:
    local_run.run(params)
    local_run.raise_failure()
    codecs = {name: local_run.codec(number) for name, _, number in local_run.plan.bodies[0].outputs}
    stored: dict[str, Stored] = {}
    with PendingOutputs() as pending:
        for name, target in targets.items():
            culprit = f"output '{name}'"
            if is_partitioned(dag.outputs[name], dag):
                stored[name] = pending.folder(codecs[name], target, local_run.output(name, lazy=True), culprit)
            else:
                stored[name] = pending.file(codecs[name], target, local_run.output(name), culprit)
        pending.commit()
    return stored
