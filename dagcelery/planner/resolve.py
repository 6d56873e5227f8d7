"""Sources become expressions of the intermediate representation: names give way to the steps that make the values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

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
from dagcelery.planner.ir import BodyIR, StepIR, StepResult, Value, values
from dagcelery.planner.plan import Expr, Path, literal, walk
from dagcelery.planner.pools import CodecPool


@dataclass(slots=True, eq=False)
class PlanFrame:
    """A DAG in the place where it is used: the values of its parameters, and what its nodes have made.

    A flattened DAG shares the `body` of the DAG around it. `results` are expressions by node and output, `spans` the
    half-open ranges of the steps that nodes became, `after` the steps that the whole DAG waits for, `codec` is the one
    of values that name no serializer. `defaults` are the expressions of the parameters' defaults.
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
