"""A granted piece is executed here: inputs are read, the function called, outputs sealed; errors become outcomes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

from dagcelery.errors import SerializationError
from dagcelery.payload import addresses, failures, values
from dagcelery.payload.values import Limits
from dagcelery.planner.plan import Expr, Step
from dagcelery.runtime.calls import FAILURES, Listener, heard, is_leaving
from dagcelery.runtime.pieces import Cursor, executing
from dagcelery.runtime.reading import ATOMS, Reader, RunView
from dagcelery.runtime.writing import Sealed, Writer
from dagcelery.store.base import CLOSE, START, Block, Child, Grant, Outcome, scope_id

RANGE_SECONDS = 0.1
"""A claimed range that takes longer than this is cut: what is done is committed, the rest goes back."""


@dataclass(frozen=True, slots=True)
class Executed:
    """What came of a piece. `children` are scopes to open instead of an outcome; `seconds` is per item."""

    outcome: Outcome
    children: Sequence[Child] | None = None
    error: BaseException | None = None
    seconds: float = 0.0


class Executor:
    """Executes pieces of one run in this process."""

    def __init__(self, view: RunView, limits: Limits) -> None:
        self.view = view
        self.limits = limits
        self._listener: Listener | None = None

    def execute(self, grant: Grant, listener: Listener | None = None) -> Executed:
        """Execute a piece; whatever it raises, short of the end of the process, becomes a failure."""
        self._listener = listener
        started, clock = time.time(), time.perf_counter()
        try:
            self.view.trust(grant.scope)
            if grant.step == START:
                return Executed(Outcome(started=started))
            if grant.step == CLOSE:
                outcome = self._close(grant)
            elif grant.lo >= 0:
                return self._range(grant, started)
            else:
                outcome = self._once(grant)
        except FAILURES as error:
            if is_leaving(error):
                raise
            return self._failed(grant, error, started, clock)
        seconds = time.perf_counter() - clock
        return Executed(_timed(outcome, started, seconds), seconds=seconds)

    def _failed(self, grant: Grant, error: BaseException, started: float, clock: float) -> Executed:
        sealed = self._seal_failure(grant, error, grant.lo)
        seconds = time.perf_counter() - clock
        outcome = Outcome(done=grant.lo, failure=sealed, started=started, seconds=seconds)
        return Executed(outcome, error=error, seconds=seconds)

    def _seal_failure(self, grant: Grant, error: BaseException, index: int) -> bytes:
        if self._listener is not None:
            self._listener.failed(index, error)
        piece = f"{grant.scope.id}/{grant.step}" + (f"/{index}" if index >= 0 else "")
        address = addresses.failure(self.view.run_id, piece)
        return values.seal_bytes(self.view.keyring, address, grant.attempt, failures.encode(error))

    # -- steps that run once ----------------------------------------------------------------------
    def _once(self, grant: Grant) -> Outcome:
        step = self.view.program.step(grant.scope.body, grant.step)
        reader = Reader(self.view, grant.scope, grant)
        arguments = {name: reader.evaluate(expr, lazy=name in step.lazy) for name, expr in step.arguments}
        culprit = self.view.address(grant.scope, grant.step)
        if step.kind == "gather":
            returned = next(iter(arguments.values()), None)
        else:
            function = self.view.program.function(step.target)
            with executing(Cursor(self.view, grant)):
                returned = heard(self._listener, -1, function, arguments)
        sealed = Sealed()
        writer = Writer(self.view, grant.scope.id, grant.attempt, self.limits)
        with executing(Cursor(self.view, grant)):
            writer.step_outputs(sealed, grant.step, step, returned, culprit)
        return Outcome(values=sealed.values, lists=sealed.lists, blocks=sealed.all_blocks())

    def _locate(self, grant: Grant, index: int) -> str:
        return self.view.address(grant.scope, grant.step, index)

    def _close(self, grant: Grant) -> Outcome:
        """Hand a scope's outputs to the step that opened it, as the results of one of its items."""
        scope, reader = grant.scope, Reader(self.view, grant.scope, grant)
        parent = self.view.scope(scope.parent)
        step = self.view.program.step(parent.body, scope.step)
        writer = Writer(self.view, parent.id, grant.attempt, self.limits)
        culprit = self.view.address(parent, scope.step, scope.index)
        blocks = []
        for at, (name, expr, _) in enumerate(self.view.program.body(scope.body).outputs):
            codec, token = self.view.program.codecs[step.outputs[at].codec], f"{scope.step}.{at}"
            value = reader.evaluate(expr)
            blocks.append(writer.block(token, codec, scope.index, [value], f"output '{name}' of '{culprit}'"))
        return Outcome(blocks=blocks)

    # -- fan-outs ---------------------------------------------------------------------------------
    def _range(self, grant: Grant, started: float) -> Executed:
        clock = time.perf_counter()
        step = self.view.program.step(grant.scope.body, grant.step)
        assert step.over is not None
        try:
            self._check_size(grant, step)
            columns = Columns(Reader(self.view, grant.scope, grant), step, grant.lo, grant.hi)
            if step.kind == "dag" and grant.hi > grant.lo:
                children = [self._child(grant, step, columns, index) for index in range(grant.lo, grant.hi)]
                return Executed(Outcome(), children, seconds=(time.perf_counter() - clock) / len(children))
            function = self.view.program.function(step.target) if step.kind == "task" else None
        except Exception as error:
            return self._failed(grant, error, started, clock)
        cursor = Cursor(self.view, grant)
        with executing(cursor):
            returned, raised = _call_items(function, columns, cursor, self._listener) if function else ([], None)
        return self._seal_range(grant, step, returned, raised, started, clock)

    def _check_size(self, grant: Grant, step: Step) -> None:
        """The store says how many items there are; the producer's signature says whether that is so."""
        assert step.over is not None
        if self.view.count(grant.scope.id, step.over) != grant.items:
            raise SerializationError(
                f"fan-out '{self.view.address(grant.scope, grant.step)}'",
                "the store counts other items than were signed",
                "keep others from writing to the store",
            )

    def _seal_range(
        self,
        grant: Grant,
        step: Step,
        returned: list[Any],
        error: BaseException | None,
        started: float,
        clock: float,
    ) -> Executed:
        writer = Writer(self.view, grant.scope.id, grant.attempt, self.limits)
        culprit = self.view.address(grant.scope, grant.step)
        try:
            blocks = writer.items(grant.step, step, grant.lo, returned, culprit)
        except Exception as refused:
            returned, blocks, error = self._sealable(writer, grant, step, returned, refused)
        done, seconds = grant.lo + len(returned), time.perf_counter() - clock
        failure = self._seal_failure(grant, error, done) if error is not None else None
        outcome = Outcome(blocks=blocks, done=done, failure=failure, started=started, seconds=seconds)
        return Executed(outcome, error=error, seconds=seconds / max(1, len(returned)))

    def _sealable(
        self, writer: Writer, grant: Grant, step: Step, returned: list[Any], refused: Exception
    ) -> tuple[list[Any], list[Block], Exception]:
        """Find the item whose result cannot be sealed; what stands before it is good."""
        for at, value in enumerate(returned):
            try:
                writer.items(grant.step, step, grant.lo + at, [value], self._locate(grant, grant.lo + at))
            except Exception as error:
                good = returned[:at]
                return good, writer.items(grant.step, step, grant.lo, good, self._locate(grant, -1)), error
        raise refused

    def _child(self, grant: Grant, step: Step, columns: Columns, index: int) -> Child:
        """What one item's scope starts with: the values of the child body's own parameters."""
        body = self.view.program.body(step.target)
        scope = scope_id(self.view.run_id, grant.scope.id, grant.step, index)
        writer, sealed = Writer(self.view, scope, 0, self.limits), Sealed()
        culprit = self.view.address(grant.scope, grant.step, index)
        arguments = columns.item(index)
        for param in body.params:
            value, codec = arguments[param.name], self.view.program.codecs[param.codec]
            who = f"parameter '{param.name}' of '{culprit}'"
            if param.split:
                writer.split(sealed, f"${param.name}", codec, value, who)
            if param.whole:
                writer.whole(sealed, f"${param.name}", codec, value, who)
        return Child(index, sealed.values, sealed.lists, list(sealed.all_blocks()))


class Columns:
    """The arguments of a range of items. What is shared and could be changed by a call is read anew for each item."""

    def __init__(self, reader: Reader, step: Step, lo: int, hi: int) -> None:
        self._reader = reader
        self._step = step
        self._lo = lo
        self._hi = hi
        self._elements: dict[str, list[Any]] = {}

    def rows(self) -> Iterator[dict[str, Any]]:
        """The keyword arguments of each item, in order."""
        names = [name for name, _ in self._step.arguments]
        if not names:
            yield from ({} for _ in range(self._lo, self._hi))
            return
        columns = [self._column(name, expr) for name, expr in self._step.arguments]
        for row in zip(*columns, strict=False):
            yield dict(zip(names, row, strict=True))

    def item(self, index: int) -> dict[str, Any]:
        """The keyword arguments of one item."""
        element = partial(self._element, index)
        return {name: self._reader.evaluate(expr, element) for name, expr in self._step.arguments}

    def _element(self, index: int, token: str) -> Any:
        return self._read(token)[index - self._lo]

    def _read(self, token: str) -> list[Any]:
        found = self._elements.get(token)
        if found is None:
            found = self._elements[token] = self._reader.column(token, self._lo, self._hi)
        return found

    def _column(self, name: str, expr: Expr) -> Iterator[Any]:
        lazy = name in self._step.lazy
        if expr[0] == "each":
            column = self._read(expr[1])
            # The same element may be read by two arguments; a call that changes one must not change the other.
            return iter(
                column if not column or type(column[0]) in ATOMS or self._reads(expr[1]) < 2 else copy.deepcopy(column)
            )
        if expr[0] in ("ref", "lit"):
            value = self._reader.evaluate(expr, lazy=lazy)
            if type(value) in ATOMS:
                return repeat(value, self._hi - self._lo)
        elements = (partial(self._element, index) for index in range(self._lo, self._hi))
        return (self._reader.evaluate(expr, element, lazy=lazy) for element in elements)

    def _reads(self, token: str) -> int:
        return sum(expr == ("each", token) for _, expr in self._step.arguments)


def _call_items(
    function: Callable[..., Any], columns: Columns, cursor: Cursor, listener: Listener | None
) -> tuple[list[Any], BaseException | None]:
    """Call a function item by item, until one raises or the range has taken its time."""
    returned: list[Any] = []
    until, lo = time.perf_counter() + RANGE_SECONDS, columns._lo
    try:
        for at, arguments in enumerate(columns.rows()):
            cursor.index = lo + at
            returned.append(heard(listener, lo + at, function, arguments))
            if time.perf_counter() > until:
                break
    except FAILURES as error:
        if is_leaving(error):
            raise
        return returned, error
    return returned, None


def _timed(outcome: Outcome, started: float, seconds: float) -> Outcome:
    return Outcome(
        values=outcome.values,
        lists=outcome.lists,
        blocks=outcome.blocks,
        done=outcome.done,
        started=started,
        seconds=seconds,
    )
