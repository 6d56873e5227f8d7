"""While a plan is being made its parts may still change: a step learns from its readers what to store.

A draft expression is an expression with a `Target` wherever the plan will have a token. Targets know who
makes a value, not where it is read, so a draft expression means the same in every body. `write` turns it
into an expression of one body, and tells the makers in which form they have a reader.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
import typing
from typing import Any, TypeAlias

from dagcelery.planner.expressions import raised, substituted, tokens
from dagcelery.planner.plan import Body, Expr, Output, Param, Path, Step

Target: TypeAlias = "Produced | Given"


@dataclass(slots=True, eq=False)
class BodyDraft:
    """The steps of one scope; `opener` is the step of the parent that enters it.

    `todo`, one for all bodies, takes what a read in this body has to change in others: done one after the
    other and not within each other, it cannot exhaust the stack however deep bodies lie.
    """

    number: int
    todo: deque[Callable[[], None]]
    opener: StepDraft | None = None
    steps: list[StepDraft] = field(default_factory=list)
    params: list[Given] = field(default_factory=list)
    outputs: list[tuple[str, Expr, int]] = field(default_factory=list)
    returns: Expr | None = None
    names: dict[str, int] = field(default_factory=dict)

    def unique(self, name: str) -> str:
        """Return `name` for a step that no user named, numbered from the second time on."""
        count = self.names[name] = self.names.get(name, 0) + 1
        return name if count == 1 else f"{name}-{count}"

    def finished(self) -> Body:
        """Return the body, for ever; queues of deeper bodies must be known by now."""
        queue_open = next(step.queue for step in self.steps if step.queue)
        queue_close = queue = next(step.queue for step in reversed(self.steps) if step.queue)
        for step in reversed(self.steps):
            # A gather has no place of its own: it goes where the step goes that was planned for next.
            queue = step.queue = step.queue or queue
        if self.opener is not None:
            self.opener.queue = queue_open
        return Body(
            params=tuple([param.finished() for param in self.params]),
            steps=tuple([step.finished() for step in self.steps]),
            outputs=tuple(self.outputs),
            returns=self.returns,
            queue_open=queue_open,
            queue_close=queue_close,
        )


@dataclass(slots=True, eq=False)
class StepDraft:
    """A step; `root` is what it runs once per item of, `source` the output that the user said so of."""

    body: BodyDraft
    name: str
    kind: typing.Literal["task", "dag", "gather"]
    target: int = -1
    queue: str = ""
    after: tuple[int, ...] = ()
    lazy: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    root: Target | None = None
    source: Target | None = None
    index: int = -1
    over: str | None = None
    arguments: list[tuple[str, Expr]] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    entries: dict[tuple[Path | str, int, bool], int] = field(default_factory=dict)
    before: set[int] = field(default_factory=set)

    def take(self, name: str, draft: Expr) -> None:
        """Add an argument."""
        self.arguments.append((name, write(draft, self.body, self)))

    def stored(self, output: Output) -> str:
        """Return the token of an output, which is stored from now on."""
        # Outputs of nested DAGs have no paths, while two outputs of a task may have the same one.
        key = (output.path or output.name * (self.kind == "dag"), output.codec, output.split)
        position = self.entries.get(key)
        if position is None:
            position = self.entries[key] = len(self.outputs)
            self.outputs.append(output)
        return f"{self.index}.{position}"

    def finished(self) -> Step:
        """Return the step, for ever."""
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
        # Whoever goes through a fan-out's results without reading them comes after it nevertheless.
        if not isinstance(self.source, Produced) or self.source.step.root is None:
            return set()
        if self.source.step.body is not self.body:
            return set()
        prefix = f"{self.source.step.index}."
        reads = (token for _, expr in self.arguments for token, _ in tokens(expr))
        return set() if any(token.startswith(prefix) for token in reads) else {self.source.step.index}


@dataclass(slots=True, eq=False)
class Produced:
    """An output of a step, stored in the forms in which it is read; `by_element`: only ever in elements."""

    step: StepDraft
    name: str
    path: Path
    codec: int
    iterable: bool = False
    by_element: bool = False

    @property
    def root(self) -> Target:
        """What is counted where this is taken by item."""
        return self.step.root or self

    def whole(self, body: BodyDraft, reader: StepDraft | None) -> str:
        """Return the token of the value, or of the list of all items' results."""
        return self._token(body, reader, split=self.by_element and self.step.root is None)

    def split(self, body: BodyDraft, reader: StepDraft | None) -> str:
        """Return the token of the elements; of a fan-out they lie apart already."""
        return self._token(body, reader, split=self.step.root is None)

    def _token(self, body: BodyDraft, reader: StepDraft | None, *, split: bool) -> str:
        output = Output(self.name, self.path, self.codec, split, self.iterable and not split)
        levels = _climb(body, reader, self.step.body, self.step.index)
        return raised(self.step.stored(output), levels)


@dataclass(slots=True, eq=False)
class Delegated(Produced):
    """An output of a mapped nested DAG: stored by the piece that closes a scope of its body."""

    child: BodyDraft | None = None
    value: Expr = ("lit", None)
    is_read: bool = False

    def _token(self, body: BodyDraft, reader: StepDraft | None, *, split: bool) -> str:
        if self.child is not None and not self.is_read:
            self.is_read = True
            self.step.body.todo.append(self._hand_up)
        return Produced._token(self, body, reader, split=False)

    def _hand_up(self) -> None:
        if self.child is not None:
            self.child.outputs.append((self.name, write(self.value, self.child, None), self.codec))


@dataclass(slots=True, eq=False)
class Given:
    """A parameter of a body. `value` is what the parent gives it per item; None at the top."""

    body: BodyDraft
    name: str
    codec: int
    required: bool = True
    default: Expr | None = None
    value: Expr | None = None
    is_whole: bool = False
    is_split: bool = False

    @property
    def root(self) -> Target:
        """What is counted where this is taken by item."""
        return self

    def whole(self, body: BodyDraft, reader: StepDraft | None) -> str:
        """Return the token of the value."""
        self._be_read()
        self.is_whole = True
        return raised(f"${self.name}", _climb(body, reader, self.body, None))

    def split(self, body: BodyDraft, reader: StepDraft | None) -> str:
        """Return the token of the elements."""
        self._be_read()
        self.is_split = True
        return raised(f"${self.name}", _climb(body, reader, self.body, None))

    def finished(self) -> Param:
        """Return the parameter, for ever."""
        return Param(self.name, self.codec, self.is_whole, self.is_split, self.required, self.default)

    def _be_read(self) -> None:
        if self.value is None or self.is_whole or self.is_split or self.body.opener is None:
            return
        self.body.params.append(self)
        self.body.todo.append(self._hand_down)

    def _hand_down(self) -> None:
        if self.value is not None and self.body.opener is not None:
            self.body.opener.take(self.name, self.value)


def write(draft: Expr, body: BodyDraft, reader: StepDraft | None) -> Expr:
    """Return a draft expression as `reader`, a step of `body` or its end, has to read it."""

    def token(part: Expr) -> Expr:
        if part[0] == "ref":
            return ("ref", part[1].whole(body, reader))
        if part[0] == "each":
            return ("each", part[1].split(body, reader))
        return ("splice", part[1], part[2].split(body, reader))

    return substituted(draft, token)


def _climb(body: BodyDraft, reader: StepDraft | None, home: BodyDraft, index: int | None) -> int:
    # What a deeper body reads, its opener waits for.
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
