"""Runs in this process, on a store in memory. The workers' engine executes them: they differ in speed, not in meaning.

Messages are a list, which a loop delivers one by one, so no depth is too deep. `invoke` makes such a run, with values
or with serialized files.
"""

from __future__ import annotations

import heapq
import os
import secrets
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagcelery.client import following, lifecycle
from dagcelery.client.files import OutputFile, PartitionedOutput, PendingOutputs, check_free, path_of
from dagcelery.client.lifecycle import Submittable, dag_of, plan_of, split_static
from dagcelery.client.standalone import alone, is_partitioned
from dagcelery.engine.hooks import Listener
from dagcelery.engine.io import Reader
from dagcelery.engine.run_view import RunView
from dagcelery.errors import InvalidLocation, InvalidParameters
from dagcelery.model import DAG
from dagcelery.payload.codecs import Codec
from dagcelery.payload.signing import Keyring
from dagcelery.planner.plan import Plan
from dagcelery.planner.topology import topology
from dagcelery.settings import Settings
from dagcelery.store.in_process import store_in_process
from dagcelery.store.records import HOOK, ROOT, Claim, NewRun, ReadyStep, Response, RunState, Scope, TaskResult
from dagcelery.text import shown
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

    def check(self, plan: Plan) -> None:
        """Find nothing: messages stay here."""

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

    def deliver(self, engine: Engine, *, is_patient: bool = True) -> None:
        """Deliver messages, and those that they cause, until there are none, or none that is due already."""
        while self._waiting or self._later:
            if self._waiting:
                engine.work(*self._waiting.popleft())
            elif not is_patient:
                return
            else:
                due, run_id, queue = heapq.heappop(self._later)
                time.sleep(max(0.0, due - time.monotonic()))
                self._waiting.append((run_id, queue))


def eager_settings(settings: Settings) -> Settings:
    """Return settings for a process that hands work to no other: it works on a run for as long as there is work.

    Nothing is spilled, since the store goes with the process, and no sweep would remove the files. Nor is the store
    that is configured the one of such a run.
    """
    return replace(settings, slice_seconds=_FOR_EVER, handoff_seconds=_FOR_EVER, spill_url="", store_url="")


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

    def __init__(self, node: Submittable, settings: Settings, *, is_patient: bool = True) -> None:
        from dagcelery.engine.worker_loop import Engine  # late: a process that submits to workers needs none

        self._is_patient = is_patient
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

    def codec_of_output(self, name: str) -> Codec:
        """Return the codec of an output."""
        return self._codec(next(number for output, _, number in self.plan.bodies[0].outputs if output == name))

    def codec_of_param(self, name: str) -> Codec:
        """Return the codec of a parameter."""
        return self._codec(next(param.codec for param in self.plan.bodies[0].params if param.name == name))

    def _codec(self, number: int) -> Codec:
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
        self._broker.deliver(self.engine, is_patient=self._is_patient)

    @property
    def is_over(self) -> bool:
        """Whether it has ended; one that is not patient has not where an attempt is still to follow."""
        return self._state().is_end

    def errors(self) -> list[following.Failure]:
        """Return all attempts that failed."""
        return following.errors(self.engine, self.run_id)

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
        targets = _in_folder(dag, outputs.path)
        local_run.run(params)
        return stored(local_run, dag, targets)
    local_run.run(params)
    local_run.raise_failure()
    return {name: local_run.output(name) for name in dag.outputs}


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


def stored(local_run: LocalRun, dag: DAG, targets: Mapping[str, Path]) -> dict[str, Stored]:
    """Write the outputs of a run that is over to files, all or none of them. Raises what has failed it."""
    local_run.raise_failure()
    files: dict[str, Stored] = {}
    with PendingOutputs() as pending:
        for name, target in targets.items():
            culprit, codec = f"output '{name}'", local_run.codec_of_output(name)
            if is_partitioned(dag.outputs[name], dag):
                files[name] = pending.folder(codec, target, local_run.output(name, lazy=True), culprit)
            else:
                files[name] = pending.file(codec, target, local_run.output(name), culprit)
        pending.commit()
    return files
