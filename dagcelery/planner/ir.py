"""The intermediate representation of a plan, in which values are known by what makes them, and not yet by tokens.

An expression here is one of `plan` with a `Value` wherever that will have a token: a result of a step, or a parameter
of a body. Values do not say where they are read, so an expression means the same in every body. A `Resolver` makes
expressions of sources: names give way to the steps that make the values. `lower` turns one into an expression of one
body, and tells what makes its values in which form they are read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast
from typing import Literal as OneOf

from dagcelery.errors import InvalidDag
from dagcelery.model.graph import DAG
from dagcelery.model.sources import (
    EMPTY,
    Choice,
    DictOf,
    Each,
    FromNodeOutput,
    FromParam,
    ListOf,
    Literal,
    Part,
    SetOf,
    Source,
    Splice,
    TupleOf,
)
from dagcelery.planner.plan import (
    Body,
    Expr,
    Param,
    Path,
    Reading,
    Step,
    StoredOutput,
    is_constant,
    literal,
    raised,
    substituted,
    tokens,
    walk,
)
from dagcelery.planner.pools import CodecPool

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
    kind: OneOf["task", "dag", "gather"]
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
    is_sensitive: bool = False

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

    if expr[0] == "lit":
        return expr

    def token(part: Expr) -> Expr:
        if part[0] == "ref":
            return ("ref", part[1].whole(body, reader))
        if part[0] == "each":
            return ("each", part[1].split(body, reader))
        return ("splice", part[1], part[2].split(body, reader))

    return token(expr) if expr[0] in ("ref", "each") else substituted(expr, token)


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


def check_aligned(step: StepIR, name: str, expr: Expr) -> None:
    """Raise InvalidDag if an input is taken by item of another list than the step's own."""
    if expr[0] in ("lit", "ref"):
        return
    for value, reading in values(expr):
        if reading == "each" and value.root is not step.root:
            raise InvalidDag(
                f"input {name!r} of node {step.name!r}",
                f"takes items of {_called(value.root)} while its node goes through {_called(step.root)}",
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


@dataclass(slots=True, eq=False)
class PlanFrame:
    """A DAG in the place where it is used: the values of its parameters, and what its nodes have made.

    A flattened DAG shares the `body` of the DAG around it. `results` are expressions by node and output, `spans` the
    half-open ranges of the steps that nodes became, `after` the steps that the whole DAG waits for, `codec` is the one
    of values that name no serializer. `defaults` are the expressions of the parameters' defaults, `sensitive` the names
    of the parameters that are never shown.
    """

    dag: DAG
    body: BodyIR
    codec: int
    pending: Iterator[str]
    name: str = ""
    prefix: str = ""
    after: tuple[int, ...] = ()
    parent: PlanFrame | None = None
    bindings: dict[str, Expr] = field(default_factory=dict)
    results: dict[str, Mapping[str, Expr]] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    defaults: dict[tuple[str, int], Expr] = field(default_factory=dict)
    fork: Fork | None = None
    sensitive: frozenset[str] = frozenset()


def hide(expr: Expr) -> None:
    """Let the parameters that an expression reads never be shown, up to those of the run."""
    waiting = [expr]
    while waiting:
        for parameter, _ in values(waiting.pop()):
            if isinstance(parameter, BodyParameter) and not parameter.is_sensitive:
                parameter.is_sensitive = True
                waiting += [] if parameter.value is None else [parameter.value]


@dataclass(frozen=True, slots=True)
class Fork:
    """Outputs of a step that decides a condition: two lists, of which one has an element, and a third value.

    `skipped` stands for what the branches would give if the condition itself was skipped; else it is None.
    """

    then: StepResult
    otherwise: StepResult
    skipped: StepResult


@dataclass(slots=True, eq=False)
class Resolver:
    """Resolves sources; where a list has to be taken apart that no step makes, it adds a step that does."""

    codecs: CodecPool
    gathered: dict[tuple[int, int], tuple[Expr, Value]] = field(default_factory=dict)
    forks: dict[tuple[int, int], tuple[Expr, Fork]] = field(default_factory=dict)

    def expression(self, source: Source | Splice, frame: PlanFrame, place: str) -> Expr:
        """Return the expression of `source`; `place` is "node.input", for names."""
        if isinstance(source, FromNodeOutput):
            return self._made(frame.results[source.node][source.output], frame, place)
        if isinstance(source, FromParam):
            return self._param(source, frame, place)
        if isinstance(source, Literal):
            return literal(source.value)
        if isinstance(source, Each):
            return self.item(self.expression(source.source, frame, place), frame, place)
        if isinstance(source, Part):
            return _part(self.expression(source.source, frame, place), source.steps)
        if isinstance(source, ListOf):
            return _simplified(tuple([self.expression(item, frame, place) for item in source.items]))
        if isinstance(source, TupleOf | SetOf):
            tag = "tuple" if isinstance(source, TupleOf) else "set"
            return (tag, tuple([self.expression(item, frame, place) for item in source.items]))
        if isinstance(source, DictOf):
            pairs = [(literal(key), self.expression(item, frame, place)) for key, item in source.pairs]
            return ("dict", tuple(pairs))
        if isinstance(source, Choice):
            return self._made(self._chosen(source, frame, place), frame, place)
        if isinstance(source, Splice):
            over = self.counted(self.expression(source.over, frame, place), frame, place)
            return ("splice", self.expression(source.template, frame, place), over)
        raise InvalidDag(place, f"is of type {type(source).__name__!r}", "use a source of dagcelery.model")

    def item(self, expr: Expr, frame: PlanFrame, place: str) -> Expr:
        """Return the expression of one element of the list that `expr` stands for."""
        if expr[0] == "ref" and not _is_handed_up(expr[1]):
            return ("each", expr[1])
        splice = _only_splice(expr)
        # A list with one element per item of another: its element is made from the other's, and no step waits.
        return splice[1] if splice else ("each", self._gather(expr, frame, place))

    def counted(self, expr: Expr, frame: PlanFrame, place: str) -> Value:
        """Return the list that tells how many elements the list `expr` has."""
        if expr[0] == "ref" and not _is_handed_up(expr[1]):
            value: Value = expr[1]
            return value.root
        splice = _only_splice(expr)
        if splice:
            over: Value = splice[2]
            return over
        return self._gather(expr, frame, place)

    def fork(self, condition: Expr, frame: PlanFrame, place: str) -> Fork:
        """Return the fork of a condition. One body decides it once, since its truth may be the user's own code."""
        key = (frame.body.number, id(condition))
        if key not in self.forks:
            step = self._gathering(("choice", condition), frame, _step_name(frame, place, "choice"))
            codec = self.codecs.add({"kind": "json"})
            then, otherwise, skipped = [StepResult(step, str(at), (("key", at),), codec) for at in range(3)]
            self.forks[key] = (condition, Fork(then, otherwise, skipped))
        return self.forks[key][1]

    def of_branch(self, output: StepResult, fork: Fork) -> Expr:
        """Return the expression of an output of a branch, which is there if the branch was taken."""
        return ("first", ("list", (("splice", ("each", output), output.root),)), ("ref", fork.skipped))

    def _chosen(self, source: Choice, frame: PlanFrame, place: str) -> Expr:
        fork = self.fork(self.expression(source.condition, frame, place), frame, place)
        items: list[Expr] = []
        for side, over in ((source.then, fork.then), (source.otherwise, fork.otherwise)):
            expr = frame.results[side.node][side.output] if isinstance(side, FromNodeOutput) else None
            if expr is not None and expr[0] == "first" and expr[1][1][0][2] is over:
                items += expr[1][1]
            elif side != Literal(None):
                items.append(("splice", self.expression(side, frame, place), over))
        return ("first", ("list", tuple(items)), ("ref", fork.skipped))

    def _made(self, expr: Expr, frame: PlanFrame, place: str) -> Expr:
        """Let a step put together what only a branch gives, so that readers need not look for it each time."""
        return ("ref", self._gather(expr, frame, place)) if expr[0] == "first" else expr

    def codec(self, expr: Expr, default: int) -> int:
        """Return the codec for the value of `expr`: its maker's, or one that takes all of its parts."""
        if expr[0] in ("ref", "each"):
            codec: int = expr[1].codec
            return codec
        if expr[0] == "first":
            of_branches = {self.codec(item[1], default) for item in expr[1][1]}
            if len(of_branches) == 1:
                return of_branches.pop()
        of_parts = {value.codec for value, reading in values(expr) if reading != "over"}
        return self.codecs.of_composite(of_parts, default, objects=any(part[0] == "live" for part in walk(expr)))

    def _param(self, source: FromParam, frame: PlanFrame, place: str) -> Expr:
        name = source.name or place.rpartition(".")[2]
        if name in frame.bindings:
            return frame.bindings[name]
        if source.default_value is EMPTY:
            raise InvalidDag(place, f"reads parameter {name!r}, which has no value", "give it a value or a default")
        # One default is one expression, so that all readers that take it apart get the same elements.
        return frame.defaults.setdefault((name, id(source.default_value)), literal(source.default_value))

    def _gather(self, expr: Expr, frame: PlanFrame, place: str) -> Value:
        key = (frame.body.number, id(expr))
        if key not in self.gathered:
            suffix = "result" if expr[0] == "first" else "items"
            step = self._gathering(expr, frame, _step_name(frame, place, suffix))
            # The expression is kept, so that its id stays its own.
            self.gathered[key] = (expr, StepResult(step, "value", (), self.codec(expr, frame.codec)))
        return self.gathered[key][1]

    def _gathering(self, expr: Expr, frame: PlanFrame, name: str) -> StepIR:
        body = frame.body
        step = StepIR(body, body.unique(name), "gather", index=len(body.steps))
        step.add_argument("value", expr)
        body.steps.append(step)
        return step


def _step_name(frame: PlanFrame, place: str, suffix: str) -> str:
    """Return a name for a step that no user named: after the node that it is made for, or the DAG that branches."""
    if suffix != "items" and frame.prefix:
        return f"{frame.prefix[:-1]}.{suffix}"
    return f"{frame.prefix}{place.partition('.')[0]}.{suffix}"


def _part(expr: Expr, path: Path) -> Expr:
    """Return the expression of what lies at `path` within `expr`, found at once where it is plain to see."""
    for at, (kind, name) in enumerate(path):
        inner = _inner(expr, name) if kind == "key" else None
        if inner is None:
            return ("part", expr, path[at:])
        expr = inner
    return expr


def _inner(expr: Expr, name: str | int) -> Expr | None:
    tag, held = expr[:2]
    if tag == "dict":
        return next((value for key, value in held if key == ("lit", name)), None)
    if tag == "lit" and isinstance(held, dict):
        return ("lit", held[name]) if name in held else None
    index = name if type(name) is int else -1
    if tag not in ("lit", "list", "tuple") or not isinstance(held, list | tuple) or not 0 <= index < len(held):
        return None
    if tag == "lit":
        return ("lit", held[index])
    # Before a splice it is known which element is which.
    return None if any(item[0] == "splice" for item in held[: index + 1]) else held[index]


def _simplified(items: tuple[Expr, ...]) -> Expr:
    # [y for y in ys] is ys, if ys are the results of a fan-out: a new list of the same.
    if len(items) == 1 and items[0][0] == "splice" and items[0][1][0] == "each":
        value = items[0][1][1]
        if isinstance(value, StepResult) and value.step.root is not None:
            return ("ref", value)
    return ("list", items)


def _is_handed_up(value: Value) -> bool:
    """Whether a value may come from a scope that closes: it comes whole, and a step of its own takes it apart."""
    return isinstance(value, StepResult) and value.step.root is None and "dynamic" in value.step.options


def _only_splice(expr: Expr) -> Expr | None:
    if expr[0] == "list" and len(expr[1]) == 1 and expr[1][0][0] == "splice":
        splice: Expr = expr[1][0]
        return splice
    return None
