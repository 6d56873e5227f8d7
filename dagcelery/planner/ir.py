"""The intermediate representation of a plan, in which values are known by what makes them, and not yet by tokens.

An expression here is one of `plan` with a `Value` wherever that will have a token: a result of a step, or a parameter
of a body. Values do not say where they are read, so an expression means the same in every body. `lower` turns it into
an expression of one body, and tells what makes its values in which form they are read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from dagcelery.errors import InvalidDag
from dagcelery.planner.plan import (
    Body,
    Expr,
    Param,
    Path,
    Reading,
    Step,
    StoredOutput,
    is_constant,
    raised,
    substituted,
    tokens,
)

Value: TypeAlias = "StepResult | BodyParameter"


@dataclass(slots=True, eq=False)
class BodyIR:
    """The steps of one scope; `opener` is the step of the parent that enters it.

    `todo`, one for all bodies, takes what a read in this body has to change in others: done one after the
    other and not within each other, it cannot exhaust the stack however deep bodies lie.
    """

    number: int
    todo: deque[Callable[[], None]]
    opener: StepIR | None = None
    steps: list[StepIR] = field(default_factory=list)
    params: list[BodyParameter] = field(default_factory=list)
    outputs: list[tuple[str, Expr, int]] = field(default_factory=list)
    returns: Expr | None = None
    names: dict[str, int] = field(default_factory=dict)

    def unique(self, name: str) -> str:
        """Return `name` for a step that no user named, numbered from the second time on."""
        count = self.names[name] = self.names.get(name, 0) + 1
        return name if count == 1 else f"{name}-{count}"

    def lowered(self) -> Body:
        """Return the body of the plan; queues of deeper bodies must be known by now."""
        queue_open = next(step.queue for step in self.steps if step.queue)
        queue_close = queue = next(step.queue for step in reversed(self.steps) if step.queue)
        for step in reversed(self.steps):
            # A gather has no place of its own: it goes where the step goes that was planned for next.
            queue = step.queue = step.queue or queue
        if self.opener is not None:
            self.opener.queue = queue_open
        return Body(
            params=tuple([param.lowered() for param in self.params]),
            steps=tuple([step.lowered() for step in self.steps]),
            outputs=tuple(self.outputs),
            returns=self.returns,
            queue_open=queue_open,
            queue_close=queue_close,
        )


@dataclass(slots=True, eq=False)
class StepIR:
    """A step; `root` is the list that it runs once per item of, `source` the value that the user named for it.

    These differ where the source is itself the output of a fan-out. `before` are the steps that its arguments read.
    """

    body: BodyIR
    name: str
    kind: Literal["task", "dag", "gather"]
    target: int = -1
    queue: str = ""
    after: tuple[int, ...] = ()
    lazy: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    root: Value | None = None
    source: Value | None = None
    index: int = -1
    over: str | None = None
    arguments: list[tuple[str, Expr]] = field(default_factory=list)
    outputs: list[StoredOutput] = field(default_factory=list)
    entries: dict[tuple[Path | str, int, bool], int] = field(default_factory=dict)
    before: set[int] = field(default_factory=set)

    def add_argument(self, name: str, expr: Expr) -> None:
        """Add an argument."""
        self.arguments.append((name, lower(expr, self.body, self)))

    def token_of(self, output: StoredOutput) -> str:
        """Return the token of an output, which is stored from now on."""
        # Outputs of nested DAGs have no paths, while two outputs of a task may have the same one.
        key = (output.path or output.name * (self.kind == "dag"), output.codec, output.split)
        position = self.entries.get(key)
        if position is None:
            position = self.entries[key] = len(self.outputs)
            self.outputs.append(output)
        return f"{self.index}.{position}"

    def lowered(self) -> Step:
        """Return the step of the plan."""
        return Step(
            name=self.name,
            kind=self.kind,
            target=self.target,
            arguments=tuple(self.arguments),
            outputs=tuple(self.outputs),
            queue=self.queue,
            over=self.over,
            lazy=self.lazy,
            after=tuple(sorted({*self.after, *self._unread()})),
            options=self.options,
        )

    def _unread(self) -> set[int]:
        # A step that runs once per result of a fan-out, and reads none of them, waits for the fan-out nevertheless.
        if not isinstance(self.source, StepResult) or self.source.step.root is None:
            return set()
        if self.source.step.body is not self.body:
            return set()
        prefix = f"{self.source.step.index}."
        reads = (token for _, expr in self.arguments for token, _ in tokens(expr))
        return set() if any(token.startswith(prefix) for token in reads) else {self.source.step.index}


@dataclass(slots=True, eq=False)
class StepResult:
    """An output of a step, stored in the forms in which it is read; `by_element`: only ever in elements."""

    step: StepIR
    name: str
    path: Path
    codec: int
    iterable: bool = False
    by_element: bool = False

    @property
    def root(self) -> Value:
        """The list whose items are counted where this is taken by item."""
        return self.step.root or self

    def whole(self, body: BodyIR, reader: StepIR | None) -> str:
        """Return the token of the value, or of the list of all items' results."""
        return self._token(body, reader, split=self.by_element and self.step.root is None)

    def split(self, body: BodyIR, reader: StepIR | None) -> str:
        """Return the token of the elements; of a fan-out they lie apart already."""
        return self._token(body, reader, split=self.step.root is None)

    def _token(self, body: BodyIR, reader: StepIR | None, *, split: bool) -> str:
        output = StoredOutput(self.name, self.path, self.codec, split, self.iterable and not split)
        levels = _levels_up(body, reader, self.step.body, self.step.index)
        return raised(self.step.token_of(output), levels)


@dataclass(slots=True, eq=False, kw_only=True)
class ScopeResult(StepResult):
    """An output of a mapped nested DAG, `value` in its body `child`: the piece that closes a scope stores it."""

    child: BodyIR
    value: Expr
    is_read: bool = False

    def _token(self, body: BodyIR, reader: StepIR | None, *, split: bool) -> str:
        if not self.is_read:
            self.is_read = True
            self.step.body.todo.append(self._hand_up)
        return StepResult._token(self, body, reader, split=False)

    def _hand_up(self) -> None:
        self.child.outputs.append((self.name, lower(self.value, self.child, None), self.codec))


@dataclass(slots=True, eq=False)
class BodyParameter:
    """A parameter of a body. `value` is what the parent gives it per item; None at the top."""

    body: BodyIR
    name: str
    codec: int
    required: bool = True
    default: Expr | None = None
    value: Expr | None = None
    is_whole: bool = False
    is_split: bool = False

    @property
    def root(self) -> Value:
        """The list whose items are counted where this is taken by item."""
        return self

    def whole(self, body: BodyIR, reader: StepIR | None) -> str:
        """Return the token of the value."""
        self._declare()
        self.is_whole = True
        return self._token(body, reader)

    def split(self, body: BodyIR, reader: StepIR | None) -> str:
        """Return the token of the elements."""
        self._declare()
        self.is_split = True
        return self._token(body, reader)

    def lowered(self) -> Param:
        """Return the parameter of the plan."""
        return Param(self.name, self.codec, self.is_whole, self.is_split, self.required, self.default)

    def _token(self, body: BodyIR, reader: StepIR | None) -> str:
        return raised(f"${self.name}", _levels_up(body, reader, self.body, None))

    def _declare(self) -> None:
        """Let the body have this parameter, and its opener the argument, when it is read for the first time."""
        opener, value = self.body.opener, self.value
        if opener is not None and value is not None and not self.is_whole and not self.is_split:
            self.body.params.append(self)
            self.body.todo.append(lambda: opener.add_argument(self.name, value))


def lower(expr: Expr, body: BodyIR, reader: StepIR | None) -> Expr:
    """Return `expr` as `reader`, a step of `body` or its end, has to read it."""

    def token(part: Expr) -> Expr:
        if part[0] == "ref":
            return ("ref", part[1].whole(body, reader))
        if part[0] == "each":
            return ("each", part[1].split(body, reader))
        return ("splice", part[1], part[2].split(body, reader))

    return substituted(expr, token)


def _levels_up(body: BodyIR, reader: StepIR | None, home: BodyIR, index: int | None) -> int:
    """Return how many bodies around `body` `home` is; the step of `home` that needs its step `index` learns of that."""
    levels = 0
    while body is not home:
        reader = body.opener
        if reader is None:
            raise AssertionError(f"body {home.number} is not around body {body.number}")
        body = reader.body
        levels += 1
    if reader is not None and index is not None:
        reader.before.add(index)
    return levels


def is_shared(expr: Expr) -> bool:
    """Whether `expr` is one value for all items, which deeper bodies may read in its own place."""
    return expr[0] == "ref" or is_constant(expr)


def check_aligned(place: str, expr: Expr, root: Value | None) -> None:
    """Raise InvalidDag if `expr` is taken by item of another list than `root`, its step's own."""
    for value, reading in values(expr):
        if reading == "each" and value.root is not root:
            raise InvalidDag(
                place,
                f"takes items of {_called(value.root)} while its node goes through {_called(root)}",
                "give a node one list, and put the other into a nested DAG that runs once per item",
            )


def values(expr: Expr) -> Iterator[tuple[Value, Reading]]:
    """Yield every value in `expr`, each in the place of a token, with the manner in which it is read."""
    return cast("Iterator[tuple[Value, Reading]]", tokens(expr))


def _called(value: Value | None) -> str:
    if value is None:
        return "no list"
    if isinstance(value, StepResult):
        return f"output {value.name!r} of {value.step.name!r}"
    return f"parameter {value.name!r}"
