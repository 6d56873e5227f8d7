"""A claimed piece is executed: its inputs are read, the function is called, and its outputs are sealed.

A step that runs once is a range of one item, whose index is -1; only the form of its outputs differs.

A dynamic task may return a graph instead of a value, which is what has a `__dag__`: it is planned here, sealed, and
goes on as a child plan in a scope of its own. Nothing else is known here of ways to write a graph: the plan names the
function that calls the task so that it may return one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import Context
from dataclasses import replace
from functools import lru_cache, partial
from types import FunctionType
from typing import Any, Final

from dagcelery import bounded
from dagcelery.engine import caching, refusals
from dagcelery.engine.attempts import (
    Limit,
    call,
    died,
    is_retryable,
    leave_child,
    limit_of,
    limited,
    verdict,
)
from dagcelery.engine.caching import Memo, Recollection
from dagcelery.engine.hooks import Listener, call_dag_hook
from dagcelery.engine.interrupts import is_leaving, tell
from dagcelery.engine.io import Reader, Rows, Sealed, Writer
from dagcelery.engine.log_tails import LogTail, seal
from dagcelery.engine.pieces import Contexts, enter
from dagcelery.engine.program import topology_from
from dagcelery.engine.run_view import RunView
from dagcelery.errors import (
    BadSignature,
    CodeMismatch,
    DagceleryError,
    FunctionNotFound,
    InvalidDag,
    NotConfigured,
    SerializationError,
    StoreUnavailable,
)
from dagcelery.objects import ATOMS
from dagcelery.payload import addresses, failures, functions, values
from dagcelery.planner.encoding import encode_plan
from dagcelery.planner.plan import Plan, Step, codec_key
from dagcelery.planner.topology import topology
from dagcelery.settings import Settings
from dagcelery.signatures import signature
from dagcelery.skipped import Skipped
from dagcelery.store.records import (
    CLOSE,
    HOOK,
    ROOT,
    START,
    Block,
    Child,
    ChildPlan,
    Claim,
    PieceId,
    Scope,
    TaskResult,
    scope_id,
)

# -- graphs that tasks return ---------------------------------------------------------------------
_KEPT_SHAPES = 256

_shapes: dict[tuple[object, ...], tuple[object, Plan]] = {}
"""Plans of graphs whose values are left open, with the DAGs that they were made of: their ids are in the keys."""


def is_graph(step: Step, returned: object) -> bool:
    """Return whether a dynamic task has returned a graph instead of a value."""
    return "dynamic" in step.options and hasattr(type(returned), "__dag__")


def plan_child(
    view: RunView, claim: Claim, step: Step, graph: object, most: int, check: Callable[[Plan], object]
) -> Child:
    """Plan a graph that a piece returned.

    Raises InvalidDag, NotConfigured for what only signed plans may have, and what `check` raises.
    """
    plan = _planned(view, step, graph, most)
    check(plan)
    scope = scope_id(view.run_id, claim.scope.id, claim.step, claim.lo)
    # The plan of a run that this process has to itself, lambdas and all, is never read again.
    text = b"" if view.is_alone else encode_plan(plan, signed=view.keyring.signed)
    sealed = values.seal_bytes(view.keyring, addresses.scope(view.run_id, scope), claim.attempt, text)
    first = view.number(len(plan.bodies))
    view.link(scope, first, plan)
    return Child(claim.lo, plan=ChildPlan(first, topology_from(topology(plan), first), sealed))


def _planned(view: RunView, step: Step, graph: object, most: int) -> Plan:
    from dagcelery.planner.compile import covered, filled, plan  # most workers never make a plan

    dynamic, sensitive = step.options["dynamic"], step.options.get("sensitive")
    codec = view.program.codec_specs[dynamic["codec"]]
    of_shape = getattr(graph, "__shape__", None)
    shape = of_shape() if of_shape is not None else None
    planned = partial(plan, serializer=codec, queue=dynamic["queue"], max_nodes=most, describe=_described)
    if shape is None:
        whole = planned(graph.__dag__())  # type: ignore[attr-defined]
        if whole.bodies[0].params:
            problem = (
                f"was returned by a running task without a value for its parameter {whole.bodies[0].params[0].name!r}"
            )
            raise InvalidDag(f"DAG '{whole.name}'", problem, "call it with arguments, and return what the call returns")
        return covered(whole, sensitive) if sensitive else whole
    dag, open_values = shape
    key = id(dag), codec_key(codec), dynamic["queue"], most
    kept = _shapes.get(key)
    if kept is None:
        kept = bounded.put(_shapes, key, (dag, planned(dag)), _KEPT_SHAPES)
    child = filled(kept[1], open_values)
    return covered(child, sensitive) if sensitive else child


def _described(func: Callable[..., Any], *, by_value: tuple[str, ...]) -> functions.Description:
    """Describe how other processes find a function; a worker plans the same, unchanged functions again and again.

    Other callable objects may change, and need not be hashable.
    """
    return (_known if isinstance(func, FunctionType) else functions.describe)(func, by_value=by_value)


_known = lru_cache(maxsize=1_000)(functions.describe)


def seal_graph_outputs(view: RunView, claim: Claim) -> Mapping[str, Any]:
    """Seal what a child plan returns as outputs of the piece that made it, as if that had returned it."""
    scope = claim.scope
    parent = view.scope(scope.parent)
    step, body = view.program.step(parent.body, scope.step), view.program.body(scope.body)
    assert body.returns is not None, "a child plan says what it returns"
    reader = Reader(view, scope, claim)
    reader.read_ahead([body.returns])
    value = reader.evaluate(body.returns)
    writer = Writer(view, parent.id, claim.attempt)
    culprit = view.address(parent, scope.step, scope.index)
    if scope.index >= 0:
        return {"blocks": writer.items(scope.step, step, scope.index, [value], culprit)}
    return writer.step_outputs(scope.step, step, value, culprit).outputs


_WITHOUT_VALUES: Final = (FunctionNotFound, NotConfigured, CodeMismatch, BadSignature)
"""Errors that say nothing of values, only where functions and keys are missing."""


# -- claims ---------------------------------------------------------------------------------------
RANGE_SECONDS: Final = 0.1
"""A claimed range that takes longer than this is cut: what is done is committed, the rest goes back."""


class Execution:
    """One claim, a piece or a range of items, on its way through this process.

    Each call has a context of its own, a copy of the one in which this was made, and so has what is read and sealed
    around it: no piece inherits anything of another one, or leaves anything behind.
    """

    def __init__(
        self,
        view: RunView,
        claim: Claim,
        settings: Settings,
        check: Callable[[Plan], object],
        listener: Listener | None = None,
    ) -> None:
        self._view = view
        self._claim = claim
        self._settings = settings
        self._check = check
        self._listener = listener
        self._contexts = Contexts()
        self._called = _NOTHING  # the last item whose function was called
        self._failed_in: Context | None = None
        self._limit: Limit | None = None
        self._tail: LogTail | None = None
        self._sensitive: Any = None
        self._masked: tuple[BaseException, BaseException] | None = None
        self._encoded: tuple[BaseException, bytes] | None = None
        self._started, self._clock = time.time(), time.perf_counter()

    def run(self) -> TaskResult:
        """Execute the claim; whatever it raises, short of the end of the process, becomes a failure."""
        pid = os.getpid()
        try:
            return self._with_log(self._contexts.new().run(self._run))
        finally:
            if os.getpid() != pid:  # forked by what is not called as a function: a generator, a serializer
                leave_child()

    def _run(self) -> TaskResult:
        claim = self._claim
        try:
            self._view.trust(claim.scope)
            if claim.poisoned:
                return self._failed(self._verdict())
            if claim.step == START:
                return TaskResult(started=self._started)
            if claim.step == HOOK:
                call_dag_hook(self._view, self._settings)
                return TaskResult(started=self._started)
            return self._close() if claim.step == CLOSE else self._step()
        except BaseException as error:
            if self._is_not_its_fault(error):
                raise
            return self._failed(error)

    def _with_log(self, result: TaskResult) -> TaskResult:
        """Return a result with the last lines of the pieces that it is about: not of those behind, which go back."""
        lines = tell(self._tail.end, culprit="the log of a piece") if self._tail is not None else None
        if not lines or result.is_refused:
            return result
        view, claim = self._view, self._claim
        if claim.lo >= 0 and result.children is None:
            upto = result.done + (result.failure is not None)
            lines = {index: each for index, each in lines.items() if index < upto}
        piece = PieceId(claim.scope.id, claim.step, claim.lo)
        return replace(result, log=seal(view.keyring, view.run_id, piece, claim.attempt, lines)) if lines else result

    # -- results and failures ---------------------------------------------------------------------
    def _result(self, **outputs: Any) -> TaskResult:
        return TaskResult(started=self._started, seconds=self.seconds(), **outputs)

    def seconds(self) -> float:
        """Return how long it has taken so far."""
        return time.perf_counter() - self._clock

    def _is_not_its_fault(self, error: BaseException) -> bool:
        """Return whether an error says nothing of the piece that it hit: this process leaves, or its store cannot be
        read. The claim is given back, and another process executes it.
        """
        if isinstance(error, StoreUnavailable):
            return error.url == self._view.store.shown_url
        return is_leaving(error)

    def _failed(self, error: BaseException, done: int | None = None, **outputs: Any) -> TaskResult:
        """Return the failure of item `done`, the first by default, with what its task would do about it."""
        claim, view = self._claim, self._view
        index = claim.lo if done is None else done
        # What an item did when it was called would be done again by every worker in turn that the item is left to.
        may_refuse = not (view.is_alone or claim.poisoned) and self._called < index
        if may_refuse and refusals.is_refusal(view.program, error):
            # What is done of a range is committed: the first of the rest is refused when it is claimed again.
            refused = {"error": error, "is_refused": True}
            return self._result(**({"done": index, **outputs} if index > claim.lo else refused))
        text = self._text(error)
        address = addresses.failure(view.run_id, PieceId(claim.scope.id, claim.step, index).name)
        sealed = values.seal_bytes(view.keyring, address, claim.attempt, text)
        markers = self._markers(text, index)
        if claim.step < 0:
            return self._result(error=error, done=index, failure=sealed, markers=markers)
        program, body = view.program, claim.scope.body
        step = program.step(body, claim.step) if program.knows(body) else None
        options = step.options if step else {}
        return self._result(
            error=self._for_others(error),
            done=index,
            failure=sealed,
            retryable=not claim.poisoned and is_retryable(error, options),
            markers=markers,
            context=self._failed_in,
            **outputs,
        )

    def _text(self, error: BaseException) -> bytes:
        """Return an error as the text of the time when it was first seen: a listener may change it afterwards."""
        if self._encoded is None or self._encoded[0] is not error:
            self._encoded = error, failures.encode(self._for_others(error))
        return self._encoded[1]

    def _for_others(self, error: BaseException, arguments: Mapping[str, Any] | None = None) -> BaseException:
        """Return an error as others may see it: without values of `arguments` that are sensitive. Of an error that no
        call raised, such as that of an input, it is not known which values are in it.
        """
        if not self._sensitive or isinstance(error, _WITHOUT_VALUES):
            return error
        if self._masked is None or self._masked[0] is not error:
            values = None
            if self._sensitive is not True and arguments is not None:
                values = self._hidden(arguments)
            self._masked = error, failures.masked(error, values)
        return self._masked[1]

    def _hidden(self, arguments: Mapping[str, Any]) -> list[Any] | None:
        """Return the values of sensitive parameters, defaults of the function among them, None if these are unknown."""
        found = [arguments[name] for name in self._sensitive if name in arguments]
        if len(found) < len(self._sensitive):
            program, claim = self._view.program, self._claim
            takes = signature(program.function(program.step(claim.scope.body, claim.step).target))
            if takes is None:
                return None
            left_out = [takes.parameters.get(name) for name in self._sensitive if name not in arguments]
            found += [each.default for each in left_out if each is not None and each.default is not each.empty]
        return found

    def _markers(self, text: bytes, index: int) -> dict[str, list[Block]]:
        """Return what would stand for each item that may be skipped for a failure: the piece itself, or around it.

        The store chooses one of them. Where a scope cannot be trusted, nothing is skipped.
        """
        view, claim = self._view, self._claim
        if not view.program.may_skip:
            return {}
        described, markers = failures.decode(text), dict[str, list[Block]]()
        try:
            skipped = Skipped(self._locate(index), described["type"], described["message"])
            for scope, number, at in self._items_around(index):
                step = view.program.step(scope.body, number)
                if "min_success" in step.options:
                    writer = Writer(view, scope.id, claim.attempt)
                    outputs = range(len(step.outputs))
                    markers[scope.id] = [writer.skipped(f"{number}.{output}", at, skipped) for output in outputs]
        except StoreUnavailable:
            raise
        except DagceleryError:
            return {}
        return markers

    def _items_around(self, index: int) -> Iterator[tuple[Scope, int, int]]:
        """Yield scope, step and index of each item that a piece is or lies in, the inner ones first."""
        claim, scope = self._claim, self._claim.scope
        if claim.step >= 0 and index >= 0:
            yield scope, claim.step, index
        while scope.id != ROOT:
            parent = self._view.scope(scope.parent)
            if scope.index >= 0:
                yield parent, scope.step, scope.index
            scope = parent

    def _verdict(self) -> DagceleryError:
        claim, deaths = self._claim, self._settings.max_deaths
        if claim.step < 0:
            return died(claim.poisoned, deaths)
        step = self._view.program.step(claim.scope.body, claim.step)
        is_served = any(step.queue in worker["queues"] for worker in self._view.store.fleet.workers().values())
        refused = self._view.store.reader.outstanding(self._view.run_id).refused
        lacking = next((each.why for each in refused if (each.body, each.step) == (claim.scope.body, claim.step)), "")
        return verdict(claim.poisoned, step.options, step.queue, deaths=deaths, is_served=is_served, lacking=lacking)

    def _locate(self, index: int) -> str:
        return self._view.address(self._claim.scope, self._claim.step, index)

    # -- steps that are not called ----------------------------------------------------------------
    def _close(self) -> TaskResult:
        """Hand a scope's outputs to the step that opened it, as the results of one of its items."""
        view, claim, scope = self._view, self._claim, self._claim.scope
        parent = view.scope(scope.parent)
        step = view.program.step(parent.body, scope.step)
        if step.kind != "dag":
            return self._result(**seal_graph_outputs(view, claim))
        reader, writer = Reader(view, scope, claim), Writer(view, parent.id, claim.attempt)
        culprit = view.address(parent, scope.step, scope.index)
        blocks = []
        for at, (name, expr, _) in enumerate(view.program.body(scope.body).outputs):
            codec, token = view.program.codec(step.outputs[at].codec), f"{scope.step}.{at}"
            value = reader.evaluate(expr)
            blocks.append(writer.block(token, codec, scope.index, [value], f"output '{name}' of '{culprit}'"))
        return self._result(blocks=blocks)

    def _child(self, step: Step, rows: Rows, index: int) -> Child:
        """Return the scope of one item, with the values of the child body's own parameters."""
        view, claim = self._view, self._claim
        writer = Writer(view, scope_id(view.run_id, claim.scope.id, claim.step, index), 0)
        sealed, culprit, arguments = Sealed(), self._locate(index), rows.item(index)
        for param in view.program.body(step.target).params:
            value, codec = arguments[param.name], view.program.codec(param.codec)
            name = f"parameter '{param.name}' of '{culprit}'"
            if param.split:
                writer.split(sealed, f"${param.name}", codec, value, name)
            if param.whole:
                writer.whole(sealed, f"${param.name}", codec, value, name)
        return Child(index, sealed.values, sealed.lists, list(sealed.blocks))

    # -- steps that are called --------------------------------------------------------------------
    def _step(self) -> TaskResult:
        view, claim = self._view, self._claim
        step = view.program.step(claim.scope.body, claim.step)
        if claim.lo >= 0:
            self._check_size(step)
        rows = Rows(Reader(view, claim.scope, claim), step, claim.lo, claim.hi)
        if step.kind == "dag":
            children = [self._child(step, rows, index) for index in range(claim.lo, claim.hi)]
            return self._result(children=children, done=claim.hi)
        return self._call_all(step, *self._prepared(step, rows))

    def _prepared(
        self, step: Step, rows: Iterable[dict[str, Any]]
    ) -> tuple[Iterable[dict[str, Any]], Recollection | None]:
        """Return the arguments of each call, and what is remembered of earlier ones."""
        view, claim = self._view, self._claim
        view.program.check_codecs(step)
        self._limit, self._sensitive = limit_of(step.options), step.options.get("sensitive")
        if self._settings.log_tail_lines and not self._sensitive:
            self._tail = LogTail(self._settings.log_tail_lines)
        memo = caching.memo_of(view.program, claim.scope.body, claim.step) if view.program.caches else None
        if memo is None:
            return rows, None
        recollection = Recollection(view, memo, rows)
        return recollection.calls, recollection

    def _check_size(self, step: Step) -> None:
        """The store says how many items there are; the producer's signature says whether that is so."""
        assert step.over is not None
        if self._view.count(self._claim.scope.id, step.over) != self._claim.items:
            raise SerializationError(
                f"fan-out '{self._locate(-1)}'",
                "the store counts other items than were signed",
                "keep others from writing to the store",
            )

    def _called_by(self, step: Step) -> Callable[..., Any]:
        return self._view.program.callee(step) if step.kind == "task" else _gathered

    def _call_all(self, step: Step, calls: Iterable[dict[str, Any]], recollection: Recollection | None) -> TaskResult:
        """Call a function for item by item, until one raises or the range has taken its time."""
        view, lo, new_context = self._view, self._claim.lo, self._new_context
        writer = Writer(view, self._claim.scope.id, self._claim.attempt)
        kept = partial(self._sealed_once, writer, step) if lo < 0 else writer.freezer(step, self._locate)
        may_skip, may_grow = view.program.may_skip and step.kind == "task", view.program.may_grow
        returned: list[Any] = []
        failure, context, until = None, None, time.perf_counter() + RANGE_SECONDS
        try:
            function = self._called_by(step)
            if recollection is not None:
                function = partial(_memorable, recollection.memo, function)
            for at, arguments in enumerate(calls):
                skipped = skipped_among(arguments) if may_skip else None
                context = new_context()
                if recollection is not None:
                    call_it = partial(context.run, self._call, lo + at, function, arguments)
                    value = recollection.result(at, call_it) if skipped is None else recollection.skip(skipped)
                elif skipped is not None:
                    value = skipped
                else:
                    value = context.run(self._call, lo + at, function, arguments)
                if may_grow and is_graph(step, value):  # such an item was claimed alone
                    child = plan_child(view, self._claim, step, value, self._settings.max_nodes, self._check)
                    return self._result(children=[child], done=self._claim.hi)
                # An atom cannot change before its range is sealed; a step that runs once is sealed in its own context.
                returned.append(value if lo >= 0 and type(value) in ATOMS else context.run(kept, lo + at, value))
                if time.perf_counter() > until:
                    break
        except BaseException as error:
            if self._is_not_its_fault(error):
                raise
            failure, self._failed_in = error, context
        if recollection is not None:
            recollection.keep()
        if failure is not None and not returned:
            return self._failed(failure)
        if lo >= 0:
            return self._sealed_range(writer, step, returned, failure, recollection)
        return self._result(**returned[0].outputs, cached=recollection.hits() if recollection else 0)

    def _new_context(self) -> Context:
        """Return the context of the next call."""
        return self._contexts.new()

    def _call(self, index: int, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Call a function as a piece of this context, within its time limit. Listeners take none of that time."""
        enter((self._view, self._claim, index, self._tail))
        if function is not _gathered:
            self._called = index
        listener = self._listener
        if listener is None and not self._sensitive:
            return call(function, arguments) if self._limit is None else self._call_limited(function, arguments)
        self._tell_before(index)
        try:
            returned = call(function, arguments) if self._limit is None else self._call_limited(function, arguments)
        except BaseException as error:
            seen = self._for_others(error, arguments)
            self._text(error)
            if listener is not None:
                tell(listener.after, self._view, self._claim, index, seen)
            raise
        if listener is not None:
            tell(listener.after, self._view, self._claim, index, None)
        return returned

    def _tell_before(self, index: int) -> None:
        if self._listener is not None:
            tell(self._listener.before, self._view, self._claim, index)

    def _call_limited(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        assert self._limit is not None
        with limited(self._limit):
            return call(function, arguments)

    def _sealed_once(self, writer: Writer, step: Step, index: int, returned: Any) -> Sealed:
        return writer.step_outputs(self._claim.step, step, returned, self._locate(index))

    def _sealed_range(
        self,
        writer: Writer,
        step: Step,
        returned: Sequence[Any],
        error: BaseException | None,
        recollection: Recollection | None,
    ) -> TaskResult:
        lo = self._claim.lo
        try:
            blocks = writer.items(self._claim.step, step, lo, returned, self._locate(-1))
        except BaseException as refusal:
            if self._is_not_its_fault(refusal):
                raise
            returned, blocks, error = self._sealable(writer, step, returned, refusal)
        done = lo + len(returned)
        cached = recollection.hits(len(returned)) if recollection else 0
        if error is not None:
            return self._failed(error, done, blocks=blocks, cached=cached)
        return self._result(blocks=blocks, done=done, cached=cached)

    def _sealable(
        self, writer: Writer, step: Step, returned: Sequence[Any], refusal: BaseException
    ) -> tuple[Sequence[Any], list[Block], BaseException]:
        """Find the item whose result cannot be sealed; the results in front of it are good."""
        number, lo = self._claim.step, self._claim.lo
        for at, value in enumerate(returned):
            try:
                writer.items(number, step, lo + at, [value], self._locate(lo + at))
            except BaseException as error:
                if self._is_not_its_fault(error):
                    raise
                return returned[:at], writer.items(number, step, lo, returned[:at], self._locate(-1)), error
        raise refusal


_NOTHING: Final = -2
"""No item: -1 is that of a step that runs once."""


def _gathered(**arguments: Any) -> Any:
    """Return the only argument of a step that has no function."""
    return next(iter(arguments.values()), None)


def _memorable(memo: Memo, function: Callable[..., Any], /, **arguments: Any) -> Any:
    """Call a function, and make of what it returns what may be kept, in the same time and context."""
    return memo.result(call(function, arguments))


def skipped_among(arguments: Mapping[str, Any]) -> Skipped | None:
    """Return the argument that was skipped: a piece that would be called with it is skipped too."""
    return next((value for value in arguments.values() if type(value) is Skipped), None)
