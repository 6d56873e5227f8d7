"""Sources become draft expressions: names of parameters and nodes give way to the steps that make the values.

A draft expression is an expression with a `Target` wherever the plan will have a token. Targets know who
makes a value, not where it is read, so a draft expression means the same in every body. `write` turns it
into an expression of one body, and tells the makers in which form they have a reader.
"""

from __future__ import annotations

import typing
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dagcelery.errors import InvalidDag
from dagcelery.model import (
    DAG,
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
    Output,
    Param,
    Path,
    Step,
    is_constant,
    literal,
    raised,
    substituted,
    tokens,
)
from dagcelery.planner.tables import CodecTable

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


@dataclass(slots=True, eq=False)
class Frame:
    """A DAG in the place where it is used: the values of its parameters, and what its nodes have made.

    A flattened DAG shares the `body` of the DAG around it. `results` are draft expressions by node and
    output, `spans` the half-open ranges of the steps that nodes became, `after` the steps that the whole
    DAG waits for, `codec` is the one of values that name no serializer.
    """

    dag: DAG
    body: BodyDraft
    codec: int
    pending: Iterator[str]
    name: str = ""
    prefix: str = ""
    after: tuple[int, ...] = ()
    parent: Frame | None = None
    bindings: dict[str, Expr] = field(default_factory=dict)
    results: dict[str, Mapping[str, Expr]] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    defaults: dict[tuple[str, int], Expr] = field(default_factory=dict)
    fork: Fork | None = None


@dataclass(frozen=True, slots=True)
class Fork:
    """Outputs of a step that decides a condition: two lists, one of them with an element, and what is None elsewhere.

    `skipped` stands for what the branches would give if the condition itself was skipped.
    """

    then: Produced
    otherwise: Produced
    skipped: Produced


@dataclass(slots=True, eq=False)
class Resolver:
    """Resolves sources; where a list has to be taken apart that no step makes, it adds a step that does."""

    codecs: CodecTable
    gathered: dict[tuple[int, int], tuple[Expr, Target]] = field(default_factory=dict)
    forks: dict[tuple[int, int], tuple[Expr, Fork]] = field(default_factory=dict)

    def value(self, source: Source | Splice, frame: Frame, place: str) -> Expr:
        """Return the draft expression of `source`; `place` is "node.input", for names."""
        if isinstance(source, FromNodeOutput):
            return self._made(frame.results[source.node][source.output], frame, place)
        if isinstance(source, FromParam):
            return self._param(source, frame, place)
        if isinstance(source, Literal):
            return literal(source.value)
        if isinstance(source, Each):
            return self.item(self.value(source.source, frame, place), frame, place)
        if isinstance(source, Part):
            return part(self.value(source.source, frame, place), source.steps)
        if isinstance(source, ListOf):
            return _simplified(tuple([self.value(item, frame, place) for item in source.items]))
        if isinstance(source, TupleOf | SetOf):
            tag = "tuple" if isinstance(source, TupleOf) else "set"
            return (tag, tuple([self.value(item, frame, place) for item in source.items]))
        if isinstance(source, DictOf):
            pairs = [(literal(key), self.value(item, frame, place)) for key, item in source.pairs]
            return ("dict", tuple(pairs))
        if isinstance(source, Choice):
            return self._made(self._chosen(source, frame, place), frame, place)
        if isinstance(source, Splice):
            over = self.counted(self.value(source.over, frame, place), frame, place)
            return ("splice", self.value(source.template, frame, place), over)
        raise InvalidDag(place, f"is of type {type(source).__name__!r}", "use a source of dagcelery.model")

    def item(self, draft: Expr, frame: Frame, place: str) -> Expr:
        """Return the expression of one element of the list that `draft` stands for."""
        if draft[0] == "ref" and not _is_handed_up(draft):
            return ("each", draft[1])
        splice = _only_splice(draft)
        # A list with one element per item of another: its element is made from the other's, nobody waits.
        return splice[1] if splice else ("each", self._gather(draft, frame, place))

    def counted(self, draft: Expr, frame: Frame, place: str) -> Target:
        """Return what is counted to know how many elements the list has."""
        if draft[0] == "ref" and not _is_handed_up(draft):
            target: Target = draft[1].root
            return target
        splice = _only_splice(draft)
        if splice:
            over: Target = splice[2]
            return over
        return self._gather(draft, frame, place)

    def fork(self, condition: Expr, frame: Frame, place: str) -> Fork:
        """Return what decides a condition, once for all who ask in one body: its truth may be the user's own code."""
        key = (frame.body.number, id(condition))
        if key not in self.forks:
            step = self._gathering(("choice", condition), frame, _titled(frame, place, "choice"))
            codec = self.codecs.add({"k": "json"})
            made = [Produced(step, str(at), (("key", at),), codec) for at in range(3)]
            self.forks[key] = (condition, Fork(*made))
        return self.forks[key][1]

    def of_branch(self, output: Produced, fork: Fork) -> Expr:
        """Return the draft of what a branch gives back, if it was taken."""
        return ("first", ("list", (("splice", ("each", output), output.root),)), ("ref", fork.skipped))

    def _chosen(self, source: Choice, frame: Frame, place: str) -> Expr:
        fork = self.fork(self.value(source.condition, frame, place), frame, place)
        items: list[Expr] = []
        for side, over in ((source.then, fork.then), (source.otherwise, fork.otherwise)):
            draft = frame.results[side.node][side.output] if isinstance(side, FromNodeOutput) else None
            if draft is not None and draft[0] == "first" and draft[1][1][0][2] is over:
                items += draft[1][1]
            elif side != Literal(None):
                items.append(("splice", self.value(side, frame, place), over))
        return ("first", ("list", tuple(items)), ("ref", fork.skipped))

    def _made(self, draft: Expr, frame: Frame, place: str) -> Expr:
        """Let a step put together what only a branch gives, so that readers need not look for it each time."""
        return ("ref", self._gather(draft, frame, place)) if draft[0] == "first" else draft

    def codec(self, draft: Expr, default: int) -> int:
        """Return the codec for a value of `draft`: its maker's, or one that takes all of its parts."""
        if draft[0] in ("ref", "each"):
            codec: int = draft[1].codec
            return codec
        if draft[0] == "first":
            found = {self.codec(item[1], default) for item in draft[1][1]}
            if len(found) == 1:
                return found.pop()
        parts = {target.codec for target, reading in _targets(draft) if reading != "over"}
        return self.codecs.of_composite(parts, default, objects=_has_objects(draft))

    def _param(self, source: FromParam, frame: Frame, place: str) -> Expr:
        name = source.name or place.rpartition(".")[2]
        bound = frame.bindings.get(name)
        if bound is not None:
            return bound
        if source.default_value is EMPTY:
            raise InvalidDag(place, f"reads parameter {name!r}, which has no value", "give it, or a default")
        # One default is one expression, so that all who take it apart get the same elements.
        return frame.defaults.setdefault((name, id(source.default_value)), literal(source.default_value))

    def _gather(self, draft: Expr, frame: Frame, place: str) -> Target:
        key = (frame.body.number, id(draft))
        if key not in self.gathered:
            what = "result" if draft[0] == "first" else "items"
            step = self._gathering(draft, frame, _titled(frame, place, what))
            # The draft is kept, so that its id stays its own.
            self.gathered[key] = (draft, Produced(step, "value", (), self.codec(draft, frame.codec)))
        return self.gathered[key][1]

    def _gathering(self, draft: Expr, frame: Frame, name: str) -> StepDraft:
        body = frame.body
        step = StepDraft(body, body.unique(name), "gather", index=len(body.steps))
        step.take("value", draft)
        body.steps.append(step)
        return step


def _titled(frame: Frame, place: str, what: str) -> str:
    """Return a name for a step that no user named: after the node that it is made for, or the DAG that branches."""
    if what != "items" and frame.prefix:
        return f"{frame.prefix[:-1]}.{what}"
    return f"{frame.prefix}{place.partition('.')[0]}.{what}"


def part(draft: Expr, path: Path) -> Expr:
    """Return the expression of what lies at `path` within `draft`, found at once where it is plain to see."""
    for at, (kind, name) in enumerate(path):
        inner = _inner(draft, name) if kind == "key" else None
        if inner is None:
            return ("part", draft, path[at:])
        draft = inner
    return draft


def is_shared(draft: Expr) -> bool:
    """Whether `draft` is one value for all items, which deeper bodies may read in its own place."""
    return draft[0] == "ref" or is_constant(draft)


def check_aligned(place: str, draft: Expr, root: Target | None) -> None:
    """Raise InvalidDag if `draft` is taken by item of another list than `root`, its step's own."""
    for target, reading in _targets(draft):
        if reading == "each" and target.root is not root:
            raise InvalidDag(
                place,
                f"takes items of {_called(target.root)} while its node goes through {_called(root)}",
                "give a node one list, and put the other into a nested DAG that runs once per item",
            )


def _targets(draft: Expr) -> Iterator[tuple[Target, str]]:
    # In a draft a target stands where a token will stand.
    for token, reading in tokens(draft):
        target: Target = token  # type: ignore[assignment]
        yield target, reading


def _called(target: Target | None) -> str:
    if target is None:
        return "nothing"
    if isinstance(target, Produced):
        return f"output {target.name!r} of {target.step.name!r}"
    return f"parameter {target.name!r}"


def _inner(draft: Expr, name: str | int) -> Expr | None:
    tag = draft[0]
    if tag == "dict":
        return next((value for key, value in draft[1] if key == ("lit", name)), None)
    if tag in ("list", "tuple") and type(name) is int and 0 <= name < len(draft[1]):
        # Before a splice it is known which element is which.
        plain = all(item[0] != "splice" for item in draft[1][: name + 1])
        return draft[1][name] if plain else None
    if tag == "lit" and isinstance(draft[1], dict) and name in draft[1]:
        return ("lit", draft[1][name])
    if tag == "lit" and isinstance(draft[1], list) and type(name) is int and 0 <= name < len(draft[1]):
        return ("lit", draft[1][name])
    return None


def _simplified(items: tuple[Expr, ...]) -> Expr:
    # [y for y in ys] is ys, if ys are the results of a fan-out: a new list of the same.
    if len(items) == 1 and items[0][0] == "splice" and items[0][1][0] == "each":
        target = items[0][1][1]
        if isinstance(target, Produced) and target.step.root is not None:
            return ("ref", target)
    return ("list", items)


def _is_handed_up(draft: Expr) -> bool:
    """Whether a value may come from a scope that closes: it comes whole, and a step of its own takes it apart."""
    target = draft[1]
    return isinstance(target, Produced) and target.step.root is None and "dynamic" in target.step.options


def _only_splice(draft: Expr) -> Expr | None:
    if draft[0] == "list" and len(draft[1]) == 1 and draft[1][0][0] == "splice":
        splice: Expr = draft[1][0]
        return splice
    return None


def _has_objects(draft: Expr) -> bool:
    tag = draft[0]
    if tag in ("list", "tuple", "set"):
        return any(map(_has_objects, draft[1]))
    if tag == "dict":
        return any(_has_objects(key) or _has_objects(value) for key, value in draft[1])
    if tag in ("splice", "part"):
        return _has_objects(draft[1])
    if tag == "first":
        return any(map(_has_objects, draft[1:]))
    return bool(tag == "live")
