"""Runs as traces of OpenTelemetry: one trace a run, a span for the run and one for each execution of a piece.

Ids follow from the run and the place of a piece, so that each process can emit its part, and name the spans of others,
without having been told anything. The tracer is that of the global provider, whichever exporters and sampler a team has
given it: only the ids of dagcelery's own spans are made here. The road not taken is to build finished spans and hand
them to the provider's processors: neither its sampler nor its limits would be asked.

The function of a piece is called in its span. The span ends when the store has said what came of the piece: what nobody
was told of, because its process died or the piece went back, has none.

The run's own span is emitted by a worker's child, after the run has ended, however it ended: `create` makes a traced
run one with something to be called at its end. The process that ends it may be a sweeper or a client, which has no
tracer provider. Only where its submitter did not trace does the process that ends it emit the span, if it can.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain
from typing import Any, Final

from dagcelery import bounded
from dagcelery.engine.hooks import Listener, calls_task
from dagcelery.engine.interrupts import quiet_logger
from dagcelery.engine.program import Program
from dagcelery.engine.run_view import RunView
from dagcelery.errors import BadSignature, NotConfigured
from dagcelery.payload import failures
from dagcelery.planner.topology import needed, topology
from dagcelery.store.records import (
    CLOSE,
    HOOK,
    ROOT,
    START,
    Claim,
    Counts,
    PieceId,
    Response,
    RunRecord,
    Scope,
    StepEntry,
    TaskResult,
    scope_id,
)

try:
    from opentelemetry import context, trace
    from opentelemetry.sdk.trace import Tracer, TracerProvider
    from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
    from opentelemetry.sdk.trace.sampling import Decision
    from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as lacking:
    raise NotConfigured(
        "DAGCELERY_TRACE is on, but the SDK of OpenTelemetry is not installed here",
        "pip install 'dagcelery[otel]', or set DAGCELERY_TRACE=off",
    ) from lacking

log = quiet_logger(__name__)

_MOST_ITEMS: Final = 1_000
"""Of a fan-out with more items there is one span for each range that was committed."""

_MOST_LINKS: Final = 128

_KEPT_RUNS, _KEPT_CLAIMS, _KEPT_JOINS = 1_000, 4_096, 256

_MOST_SCOPES: Final = 1_000
"""Scopes that the end of a run finds open, and for which it emits a span."""

_FIRST_STEPS: Final = 100
"""Steps of a scope that are asked when the first one began."""

_ENDS: Final = {
    "done": "success",
    "failed": "failure",
    "cancelled": "cancellation",
    "timed_out": "timeout",
    "skipped": "skip",
}
"""States of runs and scopes in the words of OpenTelemetry's conventions for CI/CD. A piece either succeeds or fails."""


_RANDOM: Final = 0x02
"""The flag by which W3C's traceparent says that a trace id is random, as a run's id is."""


# -- the submitter ---------------------------------------------------------------------------------
_w3c: Final = TraceContextTextMapPropagator()


def submitted(mode: str) -> str:
    """Return what a run's record keeps: the mode, and the `traceparent` of the span in which it is submitted."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return f"{mode} {carrier.get('traceparent', '')}".strip()


def _read(kept: str) -> tuple[str, SpanContext | None]:
    """Return the mode, and the submitter's span if there was one."""
    mode, _, traceparent = kept.partition(" ")
    found = trace.get_current_span(_w3c.extract({"traceparent": traceparent}, context.Context())).get_span_context()
    return mode, found if found.is_valid else None


# -- ids ----------------------------------------------------------------------------------------
def span_id(run_id: str, scope: str, step: int, index: int, attempt: int) -> int:
    """Return the id of the span of a piece; of a range of items by its first one."""
    return _id(run_id, PieceId(scope, step, index).name, str(attempt))


def scope_span_id(run_id: str, scope: str) -> int:
    """Return the id of the span of a scope; that of the root scope is the run's."""
    return _id(run_id, scope)


def epoch_span_id(run_id: str, epoch: int) -> int:
    """Return the id of the span of a run that was resumed."""
    return _id(run_id, "epoch", str(epoch))


def _id(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b("/".join(parts).encode(), digest_size=8).digest()) or 1


class _Ids(IdGenerator):
    """Gives the next span that a thread starts the ids that it was told; a span of somebody else random ones.

    An SDK keeps one tracer for a name, so this may be asked by others who want a tracer of that name.
    """

    def __init__(self) -> None:
        self._told = threading.local()
        self._random = RandomIdGenerator()

    def tell(self, trace_id: int, span_id: int) -> None:
        """Say what the next span's ids are."""
        self._told.ids = trace_id, span_id

    def generate_span_id(self) -> int:
        """Return the id of a span. It is asked for last."""
        ids, self._told.ids = getattr(self._told, "ids", None), None
        return ids[1] if ids else self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        """Return the id of a trace, for a span without a parent."""
        ids = getattr(self._told, "ids", None)
        return ids[0] if ids else self._random.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        """Say that all of a trace's id is random, as a run's is."""
        return True


_ids: Final = _Ids()


# -- what is known of a run -------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Traced:
    """A run as a trace: the submitter's span, its parent or a link of it, and the context of the run's own span."""

    trace_id: int
    parent: SpanContext | None
    links: Sequence[Link]
    flags: TraceFlags

    def context(self, span_id: int) -> SpanContext:
        """Return the context of a span of this run that another process has emitted, or will emit."""
        return SpanContext(self.trace_id, span_id, is_remote=True, trace_flags=self.flags)


def _within(span: SpanContext | None) -> context.Context:
    empty = context.Context()
    return empty if span is None else trace.set_span_in_context(NonRecordingSpan(span), empty)


@dataclass(slots=True)
class _Called:
    """The span of a piece, or of a range of items, while it is executed; and when its function has returned."""

    span: Span
    ended: int = 0


Source = tuple[str, Callable[[int], int]]
"""What a join waits for: the name of a node, and the id of a span of it, for an item of the join."""


class Tracing(Listener):
    """Emits the spans of runs and pieces that this process executes. `record` reads a run's record."""

    def __init__(self, record: Callable[[str], RunRecord | None]) -> None:
        self._record = record
        self._provider: object = None
        self._known: Tracer | None = None
        self._runs: dict[str, _Traced] = {}
        self._called: dict[Key, dict[int, _Called]] = {}
        self._joins: dict[tuple[str, str, int, int], Sequence[Source]] = {}

    # -- the tracer --------------------------------------------------------------------------------
    def _tracer(self) -> Tracer | None:
        """Return the tracer of the provider that this process has now; None, and a warning, if it emits no spans."""
        provider = trace.get_tracer_provider()
        if provider is not self._provider:
            found = provider.get_tracer("dagcelery", version("dagcelery"))
            self._known = found if isinstance(provider, TracerProvider) and isinstance(found, Tracer) else None
            self._provider = provider
            if self._known is not None:
                self._known.id_generator = _ids
            else:
                lacks = "DAGCELERY_TRACE is on, but this process has no tracer provider of OpenTelemetry's SDK (%s)"
                remedy = "no spans are emitted; set one in worker_process_init"
                log.warning(f"{lacks}: {remedy}", type(provider).__qualname__, extra={"action": "not_traced"})
        return self._known

    def _start(self, tracer: Tracer, traced: _Traced, span_id: int, name: str, **options: Any) -> Span:
        _ids.tell(traced.trace_id, span_id)
        return tracer.start_span(name, **options)

    def _traced(self, tracer: Tracer, run_id: str, read: Callable[[], RunRecord | None]) -> _Traced:
        """Return a run as a trace. Whether it is sampled follows from its trace id or its parent, in each process."""
        known = self._runs.get(run_id)
        if known is not None:
            return known
        record = read()
        mode, submitter = _read(record.trace if record else "")
        parent = submitter if mode == "child" else None
        trace_id = parent.trace_id if parent else int(run_id, 16)
        links = [Link(submitter)] if submitter and not parent else []
        name = record.name if record else ""
        sampled = tracer.sampler.should_sample(
            _within(parent), trace_id, name, SpanKind.SERVER, _about(run_id, name), links
        )
        is_sampled = sampled.decision is Decision.RECORD_AND_SAMPLE
        is_random = parent.trace_flags & _RANDOM if parent else _RANDOM
        flags = TraceFlags(is_random | (TraceFlags.SAMPLED if is_sampled else TraceFlags.DEFAULT))
        return bounded.put(self._runs, run_id, _Traced(trace_id, parent, links, flags), _KEPT_RUNS)

    # -- pieces ------------------------------------------------------------------------------------
    def hears_calls(self, view: RunView, claim: Claim) -> bool:
        """Return whether this claim calls a function, in a process that has a tracer."""
        return calls_task(view, claim) and self._tracer() is not None

    def before(self, view: RunView, claim: Claim, index: int) -> None:
        """Make the piece's span the current one, in the context of its call alone."""
        tracer = self._tracer()
        if tracer is None:
            return
        called = self._called.get(key := _key(view, claim))
        if called is None:
            called = bounded.put(self._called, key, {}, _KEPT_CLAIMS)
        at = claim.lo if _is_range(claim) else index
        if at not in called or not _is_range(claim):
            called[at] = _Called(self._piece(tracer, view, claim, at))
        context.attach(trace.set_span_in_context(called[at].span))

    def after(self, view: RunView, claim: Claim, index: int, error: BaseException | None) -> None:
        """Note when a function has returned; `ended` says what came of it."""
        called = self._called.get(_key(view, claim), {}).get(claim.lo if _is_range(claim) else index)
        if called is not None:
            called.ended = time.time_ns()

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        """Emit the spans of what this process has executed: of pieces, of a scope that is closed, of the run."""
        called = self._called.pop(_key(view, claim), {})
        tracer = self._tracer() if called or claim.step in (CLOSE, HOOK) or calls_task(view, claim) else None
        if tracer is None:
            return False
        if claim.step == HOOK:
            record = self._record(view.run_id) if response.state == "committed" else None
            if record is not None and record.trace and record.is_over:
                self._end_scopes(tracer, view, record)
                self._end_run(tracer, record, _told(view, record))
        elif claim.step == CLOSE:
            if response.state == "committed" and result.error is None:
                self._end_scope(tracer, view, claim.scope, "done", time.time())
        else:
            self._end_pieces(tracer, view, claim, result, response, called)
        if response.state == "skipped":
            self._end_skipped(tracer, view, claim.scope, PieceId.parse(response.skipped))
        return False

    def _piece(self, tracer: Tracer, view: RunView, claim: Claim, at: int, began: int | None = None) -> Span:
        """Start the span of a piece, or of a range."""
        traced = self._traced(tracer, view.run_id, view.record)
        scope, step, program = claim.scope, claim.step, view.program
        attributes = _about(view.run_id, program.plan.name) | {
            "dagcelery.node": view.address(scope, step, -1 if _is_range(claim) else at),
            "dagcelery.attempt": claim.attempt,
            "dagcelery.queue": program.step(scope.body, step).queue,
            "cicd.pipeline.task.name": program.node_name(scope.body, step),
            "cicd.pipeline.task.run.id": f"{PieceId(scope.id, step, at).name}@{claim.attempt}",
        }
        if claim.waited is not None:
            attributes["dagcelery.waited_seconds"] = claim.waited
        if at >= 0:
            attributes["dagcelery.item"] = at
        sources = self._sources(view, claim)
        if len(sources) > _MOST_LINKS:
            attributes["dagcelery.links_left_out"] = len(sources) - _MOST_LINKS
        return self._start(
            tracer,
            traced,
            span_id(view.run_id, scope.id, step, at, claim.attempt),
            program.node_name(scope.body, step),
            context=_within(traced.context(scope_span_id(view.run_id, scope.id))),
            attributes=attributes,
            links=[Link(traced.context(of(at)), {"dagcelery.node": node}) for node, of in sources[:_MOST_LINKS]],
            start_time=began,
        )

    def _end_pieces(
        self,
        tracer: Tracer,
        view: RunView,
        claim: Claim,
        result: TaskResult,
        response: Response,
        called: dict[int, _Called],
    ) -> None:
        """End the spans of what was committed, or has failed. What goes back gets one when it is executed again."""
        if response.state == "stale" and claim.follows:
            return  # it was executed without a claim, as an attempt that another process makes
        began, until = int(result.started * 1e9), int((result.started + result.seconds) * 1e9)
        for at, state, error in _outcomes(claim, result, response):
            one = called.get(at) or _Called(self._piece(tracer, view, claim, at, began), until)
            attributes: dict[str, Any] = {"dagcelery.state": state}
            if state != "stale":
                attributes["cicd.pipeline.task.run.result"] = "success" if error is None else "failure"
            if _is_range(claim):
                attributes["dagcelery.items"] = max(result.done, claim.lo) - claim.lo
            elif result.cached and at not in called:
                attributes["dagcelery.cached"] = True
            one.span.set_attributes(attributes)
            if error is not None and one.span.is_recording():
                _fail(one.span, failures.describe(error))
            one.span.end(one.ended or until)

    # -- links ---------------------------------------------------------------------------------------
    def _sources(self, view: RunView, claim: Claim) -> Sequence[Source]:
        key = view.run_id, claim.scope.id, claim.step, claim.generation
        sources = self._joins.get(key)
        if sources is None:
            sources = bounded.put(self._joins, key, list(_joined(view, claim)), _KEPT_JOINS)
        return sources

    # -- scopes and runs -------------------------------------------------------------------------------
    def _end_scopes(self, tracer: Tracer, view: RunView, record: RunRecord) -> None:
        """Emit the spans of scopes that the end of a run has found open, around what failed in it or was under way."""
        if record.state == "done":
            return
        outstanding, scopes = view.store.reader.outstanding(view.run_id), dict[str, Scope]()
        for spot in (*outstanding.failed, *outstanding.claimed, *outstanding.retrying):
            name = spot.scope
            while name != ROOT and name not in scopes and len(scopes) < _MOST_SCOPES:
                scopes[name] = view.scope(name)
                name = scopes[name].parent
        for scope in scopes.values():
            self._end_scope(tracer, view, scope, record.state, record.ended)

    def _end_skipped(self, tracer: Tracer, view: RunView, scope: Scope, item: PieceId) -> None:
        """Emit the spans of scopes around a piece whose failure has skipped an item that it lies in."""
        while scope.id not in (item.scope, ROOT):
            self._end_scope(tracer, view, scope, "skipped", time.time())
            scope = view.scope(scope.parent)

    def _end_scope(self, tracer: Tracer, view: RunView, scope: Scope, state: str, ended: float) -> None:
        """Emit the span of an item of a mapped DAG, or of the plan that a piece made."""
        traced, parent = self._traced(tracer, view.run_id, view.record), view.scope(scope.parent)
        name = view.program.node_name(parent.body, scope.step)
        first = _topology_of(view, scope)[START].successors[:_FIRST_STEPS]
        counts = view.store.reader.within(view.run_id, {scope.id: first}).get(scope.id, {})
        began = min((each.started for each in counts.values() if each.started), default=ended)
        attributes = _about(view.run_id, view.program.plan.name) | {
            "dagcelery.node": view.address(parent, scope.step, scope.index),
            "dagcelery.state": state,
            "cicd.pipeline.task.name": name,
            "cicd.pipeline.task.run.id": scope.id,
            "cicd.pipeline.task.run.result": _ENDS[state],
        }
        if scope.index >= 0:
            attributes["dagcelery.item"] = scope.index
        span = self._start(
            tracer,
            traced,
            scope_span_id(view.run_id, scope.id),
            name,
            context=_within(traced.context(scope_span_id(view.run_id, scope.parent))),
            attributes=attributes,
            start_time=int(began * 1e9),
        )
        if state != "done":
            span.set_status(Status(StatusCode.ERROR))
        span.end(int(ended * 1e9))

    def run_ended(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        """Emit the span of a run that this process has ended, and that was submitted without tracing."""
        record = self._record(run_id)
        if record is not None and not record.trace and (tracer := self._tracer()) is not None:
            self._end_run(tracer, record, None)

    def _end_run(self, tracer: Tracer, record: RunRecord, error: Mapping[str, str] | None) -> None:
        """Emit the span of a run from its submit to the first end that is told; of each further one a span below it."""
        traced, root = self._traced(tracer, record.id, lambda: record), scope_span_id(record.id, ROOT)
        is_first = record.untold == record.epoch - 1 or not record.pauses
        began = record.created if is_first else record.pauses[-1][1]
        about = {"dagcelery.state": record.state, "dagcelery.epoch": record.epoch}
        span = self._start(
            tracer,
            traced,
            root if is_first else epoch_span_id(record.id, record.epoch),
            record.name,
            context=_within(traced.parent if is_first else traced.context(root)),
            kind=SpanKind.SERVER,
            attributes=_about(record.id, record.name) | about | {"cicd.pipeline.result": _ENDS[record.state]},
            links=traced.links if is_first else (),
            start_time=int(began * 1e9),
        )
        if error is not None:
            _fail(span, error)
        elif record.state != "done":
            span.set_status(Status(StatusCode.ERROR, record.reason or None))
        span.end(int((record.ended or time.time()) * 1e9))


def _about(run_id: str, dag: str) -> dict[str, Any]:
    return {
        "dagcelery.run": run_id,
        "dagcelery.dag": dag,
        "cicd.pipeline.name": dag,
        "cicd.pipeline.run.id": run_id,
    }


Key = tuple[str, str, int, int, int]
"""An execution of a piece or a range: run, scope, step, first item and attempt."""


def _key(view: RunView, claim: Claim) -> Key:
    return view.run_id, claim.scope.id, claim.step, claim.lo, claim.attempt


def _is_range(claim: Claim) -> bool:
    return claim.lo >= 0 and claim.items > _MOST_ITEMS


def _outcomes(claim: Claim, result: TaskResult, response: Response) -> Iterator[tuple[int, str, BaseException | None]]:
    """Yield the item, state and error of each span: one for a range."""
    is_stale, error = response.state == "stale", result.error
    done = "stale" if is_stale else "done"
    failed = {"committed": "failed"}.get(response.state, response.state)
    if claim.lo < 0 or _is_range(claim) or result.children is not None:
        yield claim.lo, done if error is None else failed, error
        return
    for index in range(claim.lo, result.done):
        yield index, done, None
    if error is not None:
        yield result.done, failed, error


def _fail(span: Span, error: Mapping[str, str]) -> None:
    """Give a span an error as the run keeps it, masked where its task is sensitive."""
    kind, message = error["type"], error["message"]
    span.set_status(Status(StatusCode.ERROR, f"{kind}: {message}".removesuffix(": ")))
    span.set_attribute("error.type", kind)
    told = {"exception.type": kind, "exception.message": message, "exception.stacktrace": error["traceback"]}
    span.add_event("exception", told)


def _told(view: RunView, record: RunRecord) -> Mapping[str, str] | None:
    """Return the error that has failed a run, if one has, and it can be trusted."""
    try:
        return view.failure(record.failed) if record.failed else None
    except BadSignature:
        return None


def _topology_of(view: RunView, scope: Scope) -> Mapping[int, StepEntry]:
    """Return what the steps of a scope wait for."""
    home = view.program.home(view.scope(scope.id).body)
    assert home is not None, "a scope that is trusted has its plan at hand"
    return topology(home[0])[home[1]]


# -- joins ----------------------------------------------------------------------------------------
def _joined(view: RunView, claim: Claim) -> Iterator[Source]:
    """Yield what a step waits for, if it joins several nodes, or a whole fan-out.

    Of a fan-out it is the first item, in its first attempt: which attempt was the last one is known of steps that run
    once. Where both go item by item, it is the same item, unless each has more of them than spans.
    """
    scope, program = claim.scope, view.program
    home = program.home(scope.body)
    assert home is not None, "what is executed has its plan at hand"
    steps, items = needed(*home, claim.step)
    whole = list(dict.fromkeys(_through_gathers(program, scope.body, steps)))
    is_mapped = any(program.step(scope.body, source).over is not None for source in whole)
    if len(whole) + len(items) < 2 and not is_mapped:
        return
    counts = view.store.reader.within(view.run_id, {scope.id: whole}).get(scope.id, {})
    for source in whole:
        count, name = counts.get(source, Counts()), program.node_name(scope.body, source)
        if program.step(scope.body, source).over is None:
            number = span_id(view.run_id, scope.id, source, -1, count.attempt or 1)
            yield name, partial(_always, number)
        elif count.total:
            yield name, partial(_always, _of_item(view, scope, source, 0))
    for source in () if _is_range(claim) else items:
        yield program.node_name(scope.body, source), partial(_of_item, view, scope, source)


def _through_gathers(program: Program, body: int, steps: Iterable[int]) -> Iterator[int]:
    """Yield steps, and in place of those without a function what these wait for."""
    home = program.home(body)
    for step in steps:
        if program.step(body, step).kind == "gather" and home is not None:
            yield from _through_gathers(program, body, chain(*needed(*home, step)))
        else:
            yield step


def _of_item(view: RunView, scope: Scope, step: int, index: int) -> int:
    """Return the id of the span of an item: of a mapped DAG it is that of its scope."""
    if view.program.step(scope.body, step).kind == "dag":
        return scope_span_id(view.run_id, scope_id(view.run_id, scope.id, step, index))
    return span_id(view.run_id, scope.id, step, index, 1)


def _always(number: int, item: int) -> int:
    return number
