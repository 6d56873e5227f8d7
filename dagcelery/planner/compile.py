"""A DAG becomes a plan: nodes become steps, nested DAGs are flattened, mapped ones become bodies.

A nested DAG that runs once disappears: its nodes become steps called ``inner/f``, and its parameters give
way to what they are bound to. One that runs once per item becomes a body of its own. What all its items
share it reads in the parent's scope (``^3.0``); what differs from item to item becomes a parameter of the
body (``$x``), as the argument of the step that enters it.

Nothing is called by calling itself, so that DAGs may be nested as deep as memory goes.

Plans of one shape differ in their literals only: one is made with open places, and filled in for each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from dagcelery.errors import InvalidDag
from dagcelery.model import DAG, EMPTY, Each, Literal, Node, Open, Task, TaskOutput, dependencies, fan_source
from dagcelery.model.signatures import promise
from dagcelery.payload import functions
from dagcelery.planner.plan import SEQUENCES, Body, Expr, Plan, Step, literal
from dagcelery.planner.resolve import (
    BodyDraft,
    Delegated,
    Frame,
    Given,
    Produced,
    Resolver,
    StepDraft,
    check_aligned,
    is_shared,
    write,
)
from dagcelery.planner.routing import DEFAULT, Queues, queue_for
from dagcelery.planner.tables import (
    GENERAL,
    CodecTable,
    Describe,
    FunctionTable,
    as_dag,
    codec_spec,
    dynamic_options,
    output_serializer,
    plan_options,
    readers_of_parameters,
    step_options,
)
from dagcelery.planner.topology import topology

MAX_NODES: Final = 100_000

_JSON: Final[Mapping[str, Any]] = {"k": "json"}
# From here on a step of its own is cheaper than that many edges to each step that waits.
WIDE: Final = 16


def plan(
    dag: DAG | Task,
    *,
    serializer: Mapping[str, Any] = _JSON,
    queue: str = DEFAULT,
    queues: Queues | None = None,
    max_nodes: int = MAX_NODES,
    describe: Describe = functions.describe,
) -> Plan:
    """Return the plan of a DAG, or of a task as of a DAG that has no other node.

    `serializer` describes the codec of what names none, where the DAG has no default; `queue` takes what has
    neither taints nor a queue, `queues` names those of taints. `describe` says how workers find a function. Raises
    InvalidDag, also for more than `max_nodes` steps.
    """
    top = dag if isinstance(dag, DAG) else as_dag(dag)
    if top.options.serializer is not None:
        serializer = codec_spec(top.options.serializer)
    try:
        return Builder(serializer, queue, queues, max_nodes, describe).build(top)
    except RecursionError as error:
        wrong, right = "nests DAGs or lists more deeply than Python can follow", "use fewer levels"
        raise InvalidDag(f"DAG {top.name!r}", wrong, right) from error


class Builder:
    """Builds one plan. Frames of DAGs that are being planned lie on a stack, the innermost on top."""

    def __init__(
        self, serializer: Mapping[str, Any], queue: str, queues: Queues | None, limit: int, describe: Describe
    ) -> None:
        self.codecs = CodecTable(serializer, describe)
        self.functions = FunctionTable(describe)
        self.resolver = Resolver(self.codecs)
        self.bodies: list[BodyDraft] = []
        self.todo: deque[Callable[[], None]] = deque()
        self.queue = queue
        self.queues = queues
        self.limit = limit
        self.size = 0

    def build(self, dag: DAG) -> Plan:
        """Return the plan of `dag`."""
        stack = [self.top_frame(dag)]
        while stack:
            name = next(stack[-1].pending, None)
            if name is None:
                self.leave(stack.pop())
            else:
                stack.extend(self.enter(stack[-1], name))
            while self.todo:
                self.todo.popleft()()
        # Deeper bodies first: the queue of a step that enters a body is that of the body's first step.
        bodies = [body.finished() for body in reversed(self.bodies)]
        options = plan_options(dag.options, self.functions)
        return Plan(
            name=dag.name or "dag",
            bodies=tuple(reversed(bodies)),
            functions=tuple(self.functions.specs),
            codecs=tuple(self.codecs.specs),
            options=options,
        )

    def top_frame(self, dag: DAG) -> Frame:
        """Return the frame of the DAG itself: whatever its inputs are, they are parameters here."""
        body = self.new_body(None)
        readers = readers_of_parameters(dag, self.limit)
        for name, source in dag.inputs.items():
            given = source.value if isinstance(source, Literal) else getattr(source, "default_value", EMPTY)
            default = None if given is EMPTY else literal(given)
            serializer = getattr(source, "serializer", None)
            codec = self.codecs.number(serializer)
            if serializer is None:
                codec = self.codecs.of_models(readers.get(name, ()), codec)
            body.params.append(Given(body, name, codec, required=default is None, default=default))
        bindings: dict[str, Expr] = {param.name: ("ref", param) for param in body.params}
        return Frame(dag, body, codec=0, pending=_in_order(dag), bindings=bindings)

    def enter(self, frame: Frame, name: str) -> list[Frame]:
        """Plan a node; a nested DAG is returned as the frame to go on in."""
        node = frame.dag.nodes[name]
        start = len(frame.body.steps)
        after = awaited(frame, node)
        inner: list[Frame] = []
        if isinstance(node, Task):
            self.add_task(frame, name, node, after)
        elif node.only_if is not None:
            inner = [self.open_branch(frame, name, node, after)]
        elif fan_source(node) is not None:
            inner = [self.open_mapped(frame, name, node, after)]
        else:
            inner = [self.open_flat(frame, name, node, after)]
        frame.spans[name] = (start, len(frame.body.steps))
        self.size += len(frame.body.steps) - start
        if self.size > self.limit:
            raise InvalidDag(
                f"DAG {frame.dag.name or name!r}",
                f"has more than {self.limit:,} nodes with those of its nested DAGs",
                "let one node work on several items, or raise DAGCELERY_MAX_NODES",
            )
        return inner

    def leave(self, frame: Frame) -> None:
        """Hand what a DAG gives back to the DAG around it, or to the plan."""
        outputs = {
            name: self.resolver.value(source, frame, f"{name}.{name}") for name, source in frame.dag.outputs.items()
        }
        outer, body = frame.parent, frame.body
        if outer is None:
            body.outputs = [
                (name, write(draft, body, None), self.resolver.codec(draft, frame.codec))
                for name, draft in outputs.items()
            ]
            if frame.dag.returns is not None:
                returns = self.resolver.value(frame.dag.returns, frame, "result.result")
                body.returns = write(returns, body, None)
        elif body is outer.body:
            outer.results[frame.name] = outputs
            outer.spans[frame.name] = (outer.spans[frame.name][0], len(body.steps))
        elif body.opener is not None:
            made = {name: self.delegated(name, draft, frame, body.opener) for name, draft in outputs.items()}
            outer.results[frame.name] = {
                name: self.resolver.of_branch(output, frame.fork) if frame.fork else ("ref", output)
                for name, output in made.items()
            }

    def delegated(self, name: str, draft: Expr, frame: Frame, step: StepDraft) -> Delegated:
        """Return an output of a mapped nested DAG as its step gives it back."""
        return Delegated(step, name, (), self.resolver.codec(draft, frame.codec), child=frame.body, value=draft)

    def add_task(self, frame: Frame, name: str, task: Task, after: tuple[int, ...]) -> None:
        """Add the step of a task."""
        options = task.options
        step = StepDraft(
            frame.body,
            frame.prefix + name,
            "task",
            target=self.functions.number(task.func, options.by_value),
            queue=queue_for(options.taints, options.queue, default=self.queue, queues=self.queues),
            after=after,
            lazy=options.lazy,
            options=step_options(options, self.functions, is_mapped=fan_source(task) is not None),
        )
        if options.driver is not None:
            step.options = {
                **step.options,
                **dynamic_options(options.driver, self.functions, self.queue, frame.codec),
            }
        drafts = self.inputs(frame, name, task)
        self.fan_out(step, frame, name, task)
        append(step)
        for key, draft in drafts.items():
            check_aligned(f"input {key!r} of node {step.name!r}", draft, step.root)
            step.take(key, draft)
        results: dict[str, Expr] = {}
        for key, output in task.outputs.items():
            serializer = output_serializer(output, options)
            codec = self.codecs.number(serializer, frame.codec)
            if serializer is None:
                codec = self.codecs.of_models([(task.func, "return", options.by_value)], codec)
            # What takes a table, say, takes no list of tables: its elements are written one by one, as they are read.
            by_element = output.is_partitioned and self.codecs.specs[codec]["k"] not in GENERAL
            is_iterable = is_declared_iterable(task.func, output)
            made = Produced(step, key, output.steps, codec, iterable=is_iterable, by_element=by_element)
            results[key] = ("ref", made)
        frame.results[name] = results

    def open_flat(self, frame: Frame, name: str, dag: DAG, after: tuple[int, ...]) -> Frame:
        """Return the frame of a nested DAG that runs once, whose nodes become steps of this same body."""
        bindings = self.inputs(frame, name, dag)
        if len(after) > WIDE:
            title = frame.body.unique(f"{frame.prefix}{name}.start")
            barrier = StepDraft(frame.body, title, "gather", after=after)
            append(barrier)
            after = (barrier.index,)
        return Frame(
            dag,
            frame.body,
            codec=self.codecs.number(dag.options.serializer, frame.codec),
            name=name,
            prefix=f"{frame.prefix}{name}/",
            after=after,
            parent=frame,
            pending=_in_order(dag),
            bindings=bindings,
        )

    def open_mapped(self, frame: Frame, name: str, dag: DAG, after: tuple[int, ...]) -> Frame:
        """Return the frame of a nested DAG that runs once per item, in a body of its own."""
        step = StepDraft(frame.body, frame.prefix + name, "dag", after=after)
        drafts = self.inputs(frame, name, dag)
        self.fan_out(step, frame, name, dag)
        return self.entered(step, frame, name, dag, drafts)

    def open_branch(self, frame: Frame, name: str, dag: DAG, after: tuple[int, ...]) -> Frame:
        """Return the frame of a nested DAG that runs if a condition holds: for each item of a list of one or none."""
        assert dag.only_if is not None
        drafts = self.inputs(frame, name, dag)
        fork = self.resolver.fork(drafts[dag.only_if[0]], frame, name)
        step = StepDraft(frame.body, frame.prefix + name, "dag", after=after, options={"branch": True})
        step.root = fork.then if dag.only_if[1] else fork.otherwise
        inner = self.entered(step, frame, name, dag, drafts)
        inner.fork = fork
        return inner

    def entered(self, step: StepDraft, frame: Frame, name: str, dag: DAG, drafts: dict[str, Expr]) -> Frame:
        """Return the frame of a nested DAG that has a body of its own, which `step` enters."""
        append(step)
        body = self.new_body(step)
        step.target = body.number
        for key, draft in drafts.items():
            check_aligned(f"input {key!r} of node {step.name!r}", draft, step.root)
            if not is_shared(draft):
                codec = self.resolver.codec(draft, frame.codec)
                drafts[key] = ("ref", Given(body, key, codec, value=draft))
        return Frame(
            dag,
            body,
            codec=self.codecs.number(dag.options.serializer, frame.codec),
            name=name,
            parent=frame,
            pending=_in_order(dag),
            bindings=drafts,
        )

    def inputs(self, frame: Frame, name: str, node: Node) -> dict[str, Expr]:
        """Return what the inputs of a node are, by their names."""
        drafts = {}
        for key, source in node.inputs.items():
            place = f"{name}.{key}"
            draft = self.resolver.value(source, frame, place)
            if key == node.partition_by_input and not isinstance(source, Each):
                draft = self.resolver.item(draft, frame, place)
            drafts[key] = draft
        return drafts

    def fan_out(self, step: StepDraft, frame: Frame, name: str, node: Node) -> None:
        """Let a step run once per item, if its node does."""
        source = fan_source(node)
        if source is None:
            return
        draft = self.resolver.value(source, frame, f"{name}.over")
        step.source = draft[1] if draft[0] == "ref" else None
        step.root = self.resolver.counted(draft, frame, f"{name}.over")

    def new_body(self, opener: StepDraft | None) -> BodyDraft:
        """Return a new, empty body."""
        body = BodyDraft(len(self.bodies), self.todo, opener)
        self.bodies.append(body)
        return body


def is_declared_iterable(func: Callable[..., Any], output: TaskOutput) -> bool:
    """Whether an author said that a value is there to be iterated; that others go through it says nothing."""
    said = None if output.steps else promise(func)
    return output.is_partitioned if said is None else said == "iterable"


def append(step: StepDraft) -> None:
    """Give a step its place, after all that it reads."""
    step.index = len(step.body.steps)
    step.body.steps.append(step)
    if step.root is not None:
        step.over = step.root.split(step.body, step)


def awaited(frame: Frame, node: Node) -> tuple[int, ...]:
    """Return the steps that come before `node` only because somebody said so."""
    found: set[int] = set()
    for upstream in node.after:
        found.update(_ends(frame.body, *frame.spans[upstream]))
    if frame.after and not dependencies(node):
        found.update(frame.after)
    return tuple(sorted(found))


def _ends(body: BodyDraft, start: int, stop: int) -> set[int]:
    inside = body.steps[start:stop]
    waited_for = set[int]().union(*(step.before for step in inside), *(step.after for step in inside))
    return set(range(start, stop)) - waited_for


def _in_order(dag: DAG) -> Iterator[str]:
    # Layers are sets, whose order changes from process to process.
    place = {name: at for at, name in enumerate(dag.nodes)}
    for layer in dag.node_execution_order:
        yield from sorted(layer, key=place.__getitem__)


def filled(plan: Plan, values: Sequence[object]) -> Plan:
    """Return `plan` with `values` in its open places; the topology stays the same."""
    made = replace(plan, bodies=tuple([_body(body, values) for body in plan.bodies]))
    made.memo["topology"] = topology(plan)
    return made


def _body(body: Body, values: Sequence[object]) -> Body:
    returns = None if body.returns is None else _expr(body.returns, values)
    return replace(body, steps=tuple([_step(step, values) for step in body.steps]), returns=returns)


def _step(step: Step, values: Sequence[object]) -> Step:
    return replace(step, arguments=tuple([(name, _expr(expr, values)) for name, expr in step.arguments]))


def _expr(expr: Expr, values: Sequence[object]) -> Expr:
    tag = expr[0]
    if tag == "live":
        return literal(values[expr[1].number]) if type(expr[1]) is Open else expr
    if tag in SEQUENCES:
        return (tag, tuple([_expr(item, values) for item in expr[1]]))
    if tag == "dict":
        return (tag, tuple([(key, _expr(value, values)) for key, value in expr[1]]))
    return expr
