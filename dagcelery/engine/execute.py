"""A claimed piece is executed: inputs are read, the function called, outputs sealed, and hooks told of the result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dagcelery.engine import caching, growing
from dagcelery.engine.attempts import (
    PUT_BACK,
    Listener,
    Teller,
    call,
    died,
    heard,
    is_retryable,
    leave_child,
    limit_of,
    verdict,
)
from dagcelery.engine.caching import Memo, Recollection
from dagcelery.engine.interrupts import is_leaving, quiet_logger
from dagcelery.engine.pieces import Contexts, enter
from dagcelery.engine.reading import Columns, Reader
from dagcelery.engine.run_view import RunView
from dagcelery.engine.writing import Sealed, Writer
from dagcelery.errors import DagceleryError, SerializationError, StoreUnavailable
from dagcelery.objects import ATOMS
from dagcelery.payload import addresses, failures, values
from dagcelery.payload.strict_json import Skipped
from dagcelery.payload.values import Limits
from dagcelery.planner.plan import Step
from dagcelery.store.records import CLOSE, HOOK, START, Block, Child, Claim, TaskResult, scope_id

log = quiet_logger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """What a hook is told: `state` is the run's, or of a piece "done", "failed" or "retried".

    `address` is the piece's, or of a failed run that of the node which failed it; `error` is its type and message, as
    text. `epoch` counts from 1 and rises when a run is resumed.
    """

    run_id: str
    name: str
    state: str
    address: str = ""
    error: str = ""
    attempt: int = 0
    epoch: int = 1


def call_dag_hook(view: RunView) -> None:
    """Call what a DAG wants to be called at its end. An error of it is logged, and changes nothing."""
    record = view.store.reader.record(view.run_id)
    if record is None:
        return
    options = view.program.plan.options
    hook = view.program.hook(options, "success" if record.state == "done" else "failure")
    if hook is None:
        return
    address = view.piece_address(record.failed) if record.failed else ""
    error = "" if record.failed else record.reason
    quietly(hook, Notice(view.run_id, record.name, record.state, address, error, epoch=record.epoch))


def call_task_hooks(view: RunView, claim: Claim, executed: Executed, state: str) -> None:
    """Call what a task wants to be called for its pieces that were committed, have failed, or are tried again.

    In the process that ran them, after the store knows: a process that dies in between calls nothing.
    """
    if state == "stale" or executed.children is not None:
        return
    if claim.step == CLOSE and executed.error is None:
        claim = _closed(view, claim)
        executed = replace(executed, outcome=replace(executed.outcome, done=claim.hi))
    if claim.step < 0:
        return
    options = view.program.step(claim.scope.body, claim.step).options
    done, hook = executed.outcome.done, view.program.hook(options, "success")
    if hook is not None:
        succeeded = range(claim.lo, done) if claim.lo >= 0 else [] if executed.error else [-1]
        for index in succeeded:
            quietly(hook, _of_piece(view, claim, index, "done"))
    if executed.error is not None:
        state = "retried" if state == "retried" else "failed"
        hook = view.program.hook(options, "retry" if state == "retried" else "failure")
        if hook is not None:
            quietly(hook, _of_piece(view, claim, done if claim.lo >= 0 else -1, state, executed.error))


def _closed(view: RunView, claim: Claim) -> Claim:
    """The piece that is done when this scope closes, if it made the scope's plan itself."""
    scope = claim.scope
    parent = view.scope(scope.parent)
    if view.program.step(parent.body, scope.step).kind != "task":
        return claim
    upto = scope.index + (scope.index >= 0)
    return replace(claim, scope=parent, step=scope.step, lo=scope.index, hi=upto)


def _of_piece(view: RunView, claim: Claim, index: int, state: str, error: BaseException | None = None) -> Notice:
    address = view.address(claim.scope, claim.step, index)
    message = "" if error is None else f"{type(error).__qualname__}: {failures.message(error)}"
    return Notice(view.run_id, view.program.plan.name, state, address, message, claim.attempt)


def quietly(hook: Callable[..., Any], notice: Notice) -> None:
    """Call a hook; its own failure is logged and harmless."""
    try:
        copy_context().run(hook, notice)
    except BaseException as error:
        if is_leaving(error):
            raise
        about = {"action": "hook_failed", "run": notice.run_id}
        log.exception("a hook of run %s failed (%s)", notice.run_id, notice.state, extra=about)


RANGE_SECONDS = 0.1
"""A claimed range that takes longer than this is cut: what is done is committed, the rest goes back."""


@dataclass(frozen=True, slots=True)
class Executed:
    """What came of a piece. `children` are scopes to open instead of an outcome; `seconds` is per item."""

    outcome: TaskResult
    children: Sequence[Child] | None = None
    error: BaseException | None = None
    seconds: float = 0.0


class Executor:
    """Executes pieces of one run in this process."""

    def __init__(
        self, view: RunView, sizes: Limits, deaths: int, most_nodes: int, soft_time_limit: Callable[[], Exception]
    ) -> None:
        self.view = view
        self.limits = sizes
        self._deaths = deaths
        self._most_nodes = most_nodes
        self._soft_time_limit = soft_time_limit
        self._teller: Teller | None = None
        self._contexts = Contexts()

    def execute(self, claim: Claim, listener: Listener | None = None) -> Executed:
        """Execute a piece; whatever it raises, short of the end of the process, becomes a failure.

        Each call has a context of its own, a copy of the one in which this is called, and so has what is read and
        sealed around it: no piece inherits anything of another one, or leaves anything behind.
        """
        pid = os.getpid()
        self._teller = None if listener is None else Teller(listener)
        self._contexts = Contexts()
        try:
            return self._contexts.new().run(self._execute, claim)
        finally:
            self._teller = None
            if os.getpid() != pid:  # forked by what is not called as a function: a generator, a serializer
                leave_child()

    def _execute(self, claim: Claim) -> Executed:
        started, clock = time.time(), time.perf_counter()
        try:
            self.view.trust(claim.scope)
            if claim.poisoned:
                return self._failed(claim, self._verdict(claim), started, clock)
            if claim.step == START:
                return Executed(TaskResult(started=started))
            if claim.step == HOOK:
                call_dag_hook(self.view)
                return Executed(TaskResult(started=started))
            if claim.step == CLOSE:
                outcome = self._close(claim)
            elif claim.lo >= 0:
                return self._range(claim, started)
            else:
                executed = self._once(claim)
                if executed.children is not None:
                    return replace(executed, seconds=time.perf_counter() - clock)
                outcome = executed.outcome
        except BaseException as error:
            if self._is_not_its_fault(error):
                raise
            return self._failed(claim, error, started, clock)
        seconds = time.perf_counter() - clock
        return Executed(replace(outcome, started=started, seconds=seconds), seconds=seconds)

    def _is_not_its_fault(self, error: BaseException) -> bool:
        """Whether an error says nothing of the piece that it hit: this process leaves, or its store cannot be read.
        The claim is given back, and somebody else executes it.
        """
        if isinstance(error, StoreUnavailable):
            return error.url == self.view.store.shown_url
        return is_leaving(error)

    def _failed(self, claim: Claim, error: BaseException, started: float, clock: float) -> Executed:
        failure = self._failure(claim, error, claim.lo)
        seconds = time.perf_counter() - clock
        return Executed(replace(failure, done=claim.lo, started=started, seconds=seconds), error=error, seconds=seconds)

    def _failure(self, claim: Claim, error: BaseException, index: int) -> TaskResult:
        """What the store is told of an error: sealed, with what its task would do about it."""
        text = failures.encode(error) if self._teller is None else self._teller.failed(index, error)
        piece = f"{claim.scope.id}/{claim.step}" + (f"/{index}" if index >= 0 else "")
        address = addresses.failure(self.view.run_id, piece)
        sealed = values.seal_bytes(self.view.keyring, address, claim.attempt, text)
        if claim.step < 0:
            return TaskResult(failure=sealed)
        program, body = self.view.program, claim.scope.body
        step = program.step(body, claim.step) if program.knows(body) else None
        options, is_missing = step.options if step else {}, step is not None and program.is_missing(step, error)
        return TaskResult(
            failure=sealed,
            retryable=not claim.poisoned and (is_missing or is_retryable(error, options)),
            policy=PUT_BACK if is_missing else None,
            markers=self._markers(claim, text, index) if "min_success" in options else (),
        )

    def _markers(self, claim: Claim, text: bytes, index: int) -> list[Block]:
        described = failures.decode(text)
        skipped = Skipped(self._locate(claim, index), described["type"], described["message"])
        step = self.view.program.step(claim.scope.body, claim.step)
        writer = Writer(self.view, claim.scope.id, claim.attempt, self.limits)
        return [writer.skipped(f"{claim.step}.{at}", index, skipped) for at in range(len(step.outputs))]

    def _verdict(self, claim: Claim) -> DagceleryError:
        if claim.step < 0:
            return died(claim.poisoned, self._deaths)
        step = self.view.program.step(claim.scope.body, claim.step)
        is_served = any(step.queue in word["queues"] for word in self.view.store.fleet.workers().values())
        return verdict(claim.poisoned, step.options, step.queue, deaths=self._deaths, is_served=is_served)

    # -- steps that run once ----------------------------------------------------------------------
    def _once(self, claim: Claim) -> Executed:
        step = self.view.program.step(claim.scope.body, claim.step)
        reader = Reader(self.view, claim.scope, claim)
        if not claim.values:
            reader.read_ahead(expr for _, expr in step.arguments)
        arguments = {name: reader.evaluate(expr, lazy=name in step.lazy) for name, expr in step.arguments}
        culprit = self.view.address(claim.scope, claim.step)
        if step.kind == "gather":
            returned = next(iter(arguments.values()), None)
        else:
            returned = skipped_among(arguments) if self.view.program.may_skip else None
        cached, context, place = 0, self._contexts.new(), (self.view, claim, -1)
        context.run(enter, place)
        if step.kind != "gather" and returned is None:
            function = self.view.program.callee(step)
            memo = self._memo(claim)
            limit = limit_of(step.options, self._soft_time_limit)
            if memo is None:
                returned = context.run(heard, place, self._teller, function, arguments, limit)
            else:
                recollection = Recollection(self.view, memo, [arguments])
                function = partial(_memorable, memo, function)
                call_it = partial(context.run, heard, place, self._teller, function, arguments, limit)
                returned = recollection.result(0, call_it)
                recollection.keep()
                cached = recollection.hits()
            if self.view.program.may_grow and growing.is_graph(step, returned):
                return Executed(TaskResult(), [growing.child_of(self.view, claim, step, returned, self._most_nodes)])
        sealed = Sealed()
        writer = Writer(self.view, claim.scope.id, claim.attempt, self.limits)
        context.run(writer.step_outputs, sealed, claim.step, step, returned, culprit)
        return Executed(TaskResult(values=sealed.values, lists=sealed.lists, blocks=sealed.blocks, cached=cached))

    def _memo(self, claim: Claim) -> Memo | None:
        program = self.view.program
        return caching.memo_of(program, claim.scope.body, claim.step) if program.caches else None

    def _locate(self, claim: Claim, index: int) -> str:
        return self.view.address(claim.scope, claim.step, index)

    def _close(self, claim: Claim) -> TaskResult:
        """Hand a scope's outputs to the step that opened it, as the results of one of its items."""
        scope, reader = claim.scope, Reader(self.view, claim.scope, claim)
        parent = self.view.scope(scope.parent)
        step = self.view.program.step(parent.body, scope.step)
        if step.kind != "dag":
            return growing.close(self.view, claim, self.limits)
        writer = Writer(self.view, parent.id, claim.attempt, self.limits)
        culprit = self.view.address(parent, scope.step, scope.index)
        blocks = []
        for at, (name, expr, _) in enumerate(self.view.program.body(scope.body).outputs):
            codec, token = self.view.program.codec(step.outputs[at].codec), f"{scope.step}.{at}"
            value = reader.evaluate(expr)
            blocks.append(writer.block(token, codec, scope.index, [value], f"output '{name}' of '{culprit}'"))
        return TaskResult(blocks=blocks)

    # -- fan-outs ---------------------------------------------------------------------------------
    def _range(self, claim: Claim, started: float) -> Executed:
        clock = time.perf_counter()
        step = self.view.program.step(claim.scope.body, claim.step)
        assert step.over is not None
        recollection = None
        try:
            self._check_size(claim, step)
            columns = Columns(Reader(self.view, claim.scope, claim), step, claim.lo, claim.hi)
            if step.kind == "dag" and claim.hi > claim.lo:
                children = [self._child(claim, step, columns, index) for index in range(claim.lo, claim.hi)]
                return Executed(TaskResult(), children, seconds=(time.perf_counter() - clock) / len(children))
            function = self.view.program.callee(step) if step.kind == "task" else None
            memo = self._memo(claim)
            if memo is not None:
                recollection = Recollection(self.view, memo, columns.rows())
        except BaseException as error:
            if self._is_not_its_fault(error):
                raise
            return self._failed(claim, error, started, clock)
        returned, raised = list[Any](), None
        kept = self._keeper(claim, step)
        if function is not None:
            returned, raised = self._call_items(function, step, columns, claim, recollection, kept)
        if self.view.program.may_grow and returned and growing.is_graph(step, returned[0]):
            return self._grown_item(claim, step, returned[0], started, clock)
        if recollection is None:
            return self._seal_range(claim, step, returned, raised, started, clock)
        recollection.keep()
        executed = self._seal_range(claim, step, returned, raised, started, clock)
        cached = recollection.hits(executed.outcome.done - claim.lo)
        return replace(executed, outcome=replace(executed.outcome, cached=cached))

    def _grown_item(self, claim: Claim, step: Step, graph: Any, started: float, clock: float) -> Executed:
        """An item, which was claimed alone, goes on as what it returned."""
        try:
            children = [growing.child_of(self.view, claim, step, graph, self._most_nodes)]
        except BaseException as error:
            if self._is_not_its_fault(error):
                raise
            return self._failed(claim, error, started, clock)
        return Executed(TaskResult(), children, seconds=time.perf_counter() - clock)

    def _call_items(
        self,
        function: Callable[..., Any],
        step: Step,
        columns: Columns,
        claim: Claim,
        recollection: Recollection | None,
        kept: Callable[[int, Any], Any],
    ) -> tuple[list[Any], BaseException | None]:
        """Call a function item by item, until one raises or the range has taken its time."""
        returned: list[Any] = []
        until, lo, limit = (
            time.perf_counter() + RANGE_SECONDS,
            columns.lo,
            limit_of(step.options, self._soft_time_limit),
        )
        view, teller, new_context = self.view, self._teller, self._contexts.new
        may_skip = view.program.may_skip
        try:
            for at, arguments in enumerate(columns.rows() if recollection is None else recollection.calls):
                skipped = skipped_among(arguments) if may_skip else None
                context, place = new_context(), (view, claim, lo + at)
                if recollection is not None:
                    memorable = partial(_memorable, recollection.memo, function)
                    call_it = partial(context.run, heard, place, teller, memorable, arguments, limit)
                    value = recollection.result(at, call_it) if skipped is None else recollection.skip(skipped)
                elif skipped is not None:
                    value = skipped
                else:
                    value = context.run(heard, place, teller, function, arguments, limit)
                returned.append(value if type(value) in ATOMS else context.run(kept, lo + at, value))
                if time.perf_counter() > until:
                    break
        except BaseException as error:
            if self._is_not_its_fault(error):
                raise
            return returned, error
        return returned, None

    def _keeper(self, claim: Claim, step: Step) -> Callable[[int, Any], Any]:
        """What keeps the result of an item as it is now, for its range to be sealed: the next call may change it."""
        if "dynamic" in step.options:
            return lambda _, returned: returned  # it was claimed alone, and may have returned a graph
        writer = Writer(self.view, claim.scope.id, claim.attempt, self.limits)
        return writer.keeper(step, partial(self._locate, claim))

    def _check_size(self, claim: Claim, step: Step) -> None:
        """The store says how many items there are; the producer's signature says whether that is so."""
        assert step.over is not None
        if self.view.count(claim.scope.id, step.over) != claim.items:
            raise SerializationError(
                f"fan-out '{self.view.address(claim.scope, claim.step)}'",
                "the store counts other items than were signed",
                "keep others from writing to the store",
            )

    def _seal_range(
        self,
        claim: Claim,
        step: Step,
        returned: list[Any],
        error: BaseException | None,
        started: float,
        clock: float,
    ) -> Executed:
        writer = Writer(self.view, claim.scope.id, claim.attempt, self.limits)
        culprit = self.view.address(claim.scope, claim.step)
        try:
            blocks = writer.items(claim.step, step, claim.lo, returned, culprit)
        except BaseException as refused:
            if self._is_not_its_fault(refused):
                raise
            returned, blocks, error = self._sealable(writer, claim, step, returned, refused)
        done, seconds = claim.lo + len(returned), time.perf_counter() - clock
        outcome = self._failure(claim, error, done) if error is not None else TaskResult()
        outcome = replace(outcome, blocks=blocks, done=done, started=started, seconds=seconds)
        return Executed(outcome, error=error, seconds=seconds / max(1, len(returned)))

    def _sealable(
        self, writer: Writer, claim: Claim, step: Step, returned: list[Any], refused: BaseException
    ) -> tuple[list[Any], list[Block], BaseException]:
        """Find the item whose result cannot be sealed; what stands before it is good."""
        for at, value in enumerate(returned):
            try:
                writer.items(claim.step, step, claim.lo + at, [value], self._locate(claim, claim.lo + at))
            except BaseException as error:
                if self._is_not_its_fault(error):
                    raise
                good = returned[:at]
                return good, writer.items(claim.step, step, claim.lo, good, self._locate(claim, -1)), error
        raise refused

    def _child(self, claim: Claim, step: Step, columns: Columns, index: int) -> Child:
        """What one item's scope starts with: the values of the child body's own parameters."""
        body = self.view.program.body(step.target)
        scope = scope_id(self.view.run_id, claim.scope.id, claim.step, index)
        writer, sealed = Writer(self.view, scope, 0, self.limits), Sealed()
        culprit = self.view.address(claim.scope, claim.step, index)
        arguments = columns.item(index)
        for param in body.params:
            value, codec = arguments[param.name], self.view.program.codec(param.codec)
            who = f"parameter '{param.name}' of '{culprit}'"
            if param.split:
                writer.split(sealed, f"${param.name}", codec, value, who)
            if param.whole:
                writer.whole(sealed, f"${param.name}", codec, value, who)
        return Child(index, sealed.values, sealed.lists, list(sealed.blocks))


def _memorable(memo: Memo, function: Callable[..., Any], /, **arguments: Any) -> Any:
    """Call a function, and make of what it returns what may be kept, in the same time and context."""
    return memo.result(call(function, arguments))


def skipped_among(arguments: Mapping[str, Any]) -> Skipped | None:
    """The argument that was skipped: who would be called with it is skipped too."""
    return next((value for value in arguments.values() if type(value) is Skipped), None)
