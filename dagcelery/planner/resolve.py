"""Sources become draft expressions here: names of parameters and nodes give way to who makes the value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

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
from dagcelery.planner.drafts import BodyDraft, Produced, StepDraft, Target
from dagcelery.planner.expressions import is_constant, tokens
from dagcelery.planner.literals import literal
from dagcelery.planner.plan import Expr, Path
from dagcelery.planner.tables import CodecTable


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
