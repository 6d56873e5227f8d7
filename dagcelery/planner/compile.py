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
from inspect import iscoroutinefunction
from typing import Any, Final

from dagcelery import collector
from dagcelery.errors import InvalidDag
from dagcelery.model.graph import DAG, Node, Task, dependencies, fan_source, hidden_inputs, readings
from dagcelery.model.names import is_name
from dagcelery.model.nodes import FromReturnValue, TaskOutput
from dagcelery.model.options import TaskOptions, alone, tolerance
from dagcelery.model.sources import EMPTY, Each, FromNodeOutput, FromParam, Literal, Open, Source
from dagcelery.payload import functions
from dagcelery.planner.ir import (
    BodyIR,
    BodyParameter,
    PlanFrame,
    Resolver,
    ScopeResult,
    StepIR,
    StepResult,
    check_aligned,
    hide,
    is_shared,
    lower,
)
from dagcelery.planner.plan import DEFAULT_QUEUE, Body, Expr, Plan, Step, literal, queue_for, rebuilt
from dagcelery.planner.pools import (
    GENERAL,
    CodecPool,
    Describe,
    FunctionPool,
    codec_spec,
    dynamic_options,
    item_options,
    output_serializer,
    plan_options,
    readers_of_parameters,
    step_options,
)
from dagcelery.planner.shapes import shape_of
from dagcelery.planner.topology import topology
from dagcelery.signatures import promise
from dagcelery.skipped import present

MAX_NODES: Final = 100_000

_JSON: Final[Mapping[str, Any]] = {"kind": "json"}
# From here on a step of its own is cheaper than that many edges to each step that waits.
WIDE: Final = 16


def plan(
    dag: DAG | Task,
    *,
    serializer: Mapping[str, Any] = _JSON,
    queue: str = DEFAULT_QUEUE,
    max_nodes: int = MAX_NODES,
    describe: Describe = functions.describe,
) -> Plan:
    """Return the plan of a DAG, or of a task as of a DAG that has no other node.

    `serializer` describes the codec of what names none, where the DAG has no default; `queue` takes what has
    neither taints nor a queue. `describe` says how workers find a function. Raises InvalidDag, also for more than
    `max_nodes` steps.
    """
    top = dag if isinstance(dag, DAG) else as_dag(dag)
    if option := tolerance(top.options):
        problem = "has no effect where the DAG is not called for each element of a list by another one"
        remedy = "put it on the tasks and DAGs that it calls for each element; or call .options(on_item_failure='fail')"
        raise InvalidDag(f"{option} of DAG {top.name!r}", problem, remedy)
    if top.options.serializer is not None:
        serializer = codec_spec(top.options.serializer)
    try:
        with collector.paused():
            return Builder(serializer, queue, max_nodes, describe).build(top)
    except RecursionError as error:
        problem = "nests DAGs or lists more deeply than Python can follow"
        raise InvalidDag(f"DAG {top.name!r}", problem, "use fewer levels") from error


def as_dag(task: Task) -> DAG:
    """Return a DAG around `task`, which runs once there even where its own DAG maps it.

    Parameters are called like the inputs. An input's literal or default value is its parameter's default.
    Outputs are those of the task; one that declares none gives back what it returns.
    """
    called = getattr(task.func, "__qualname__", type(task.func).__qualname__)
    plain = task.options.name or called.rpartition(".")[2]
    name = plain if is_name(plain) else "task"
    outputs = task.outputs or {"return_value": FromReturnValue()}
    params = {key: _param(source) for key, source in task.inputs.items()}
    node = Task(
        task.func,
        {key: FromParam(key) for key in params},
        outputs,
        task.runtime_options,
        options=alone(task.options),
    )
    return DAG(
        {name: node},
        params,
        {key: FromNodeOutput(name, key) for key in outputs},
        name=f"{getattr(task.func, '__module__', '')}:{called}",
    )


def _param(source: Source) -> FromParam:
    serializer = None if isinstance(source, Literal) else getattr(source, "serializer", None)
    return FromParam(serializer=serializer, default_value=default_of(source))


def default_of(source: Source) -> object:
    """Return the default of the parameter that stands for a source, EMPTY for none."""
    return source.value if isinstance(source, Literal) else getattr(source, "default_value", EMPTY)


class Builder:
    """Builds one plan. Frames of DAGs that are being planned lie on a stack, the innermost on top."""

    def __init__(self, serializer: Mapping[str, Any], queue: str, limit: int, describe: Describe) -> None:
        self.codecs = CodecPool(serializer, describe)
        self.functions = FunctionPool(describe)
        self.resolver = Resolver(self.codecs)
        self.options: dict[tuple[int, bool], Mapping[str, Any]] = {}
        self.awaiting: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        self.bodies: list[BodyIR] = []
        self.todo: deque[Callable[[], None]] = deque()
        self.queue = queue
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
        bodies = [body.lowered() for body in reversed(self.bodies)]
        options = plan_options(dag.options, self.functions)
        if hidden := sorted(param.name for param in self.bodies[0].params if param.is_sensitive):
            options["sensitive"] = hidden
        return Plan(
            name=dag.name or "dag",
            bodies=tuple(reversed(bodies)),
            functions=tuple(self.functions.specs),
            codecs=tuple(self.codecs.specs),
            options=options,
        )

    def top_frame(self, dag: DAG) -> PlanFrame:
        """Return the frame of the DAG itself, whose inputs are parameters here, whatever their sources are."""
        body = self.new_body(None)
        readers = readers_of_parameters(dag, self.limit)
        for name, source in dag.inputs.items():
            default, serializer = default_of(source), getattr(source, "serializer", None)
            codec = self.codecs.number(serializer)
            if serializer is None:
                codec = self.codecs.of_models(readers.get(name, ()), codec)
            expr = None if default is EMPTY else literal(default)
            body.params.append(BodyParameter(body, name, codec, required=expr is None, default=expr))
        bindings: dict[str, Expr] = {param.name: ("ref", param) for param in body.params}
        sensitive = self.sensitive(None, dag, bindings)
        return PlanFrame(dag, body, codec=0, pending=_in_order(dag), bindings=bindings, sensitive=sensitive)

    def sensitive(self, frame: PlanFrame | None, node: Node, exprs: Mapping[str, Expr]) -> frozenset[str]:
        """Return the inputs of a node that are never shown: those that it names, or a node in it, and those passed on
        to it that are not shown of the DAG around it. What is passed to one of them is not shown of a run either.
        """
        own = hidden_inputs(node) & exprs.keys() if isinstance(node, DAG) or node.options.sensitive else frozenset()
        for name in own:
            hide(exprs[name])
        if frame is None or not frame.sensitive:
            return own
        passed = {
            name
            for name, read in readings(node)
            if name is not None and isinstance(read, FromParam) and read.name in frame.sensitive
        }
        return own | passed

    def enter(self, frame: PlanFrame, name: str) -> list[PlanFrame]:
        """Plan a node. Return the frame of a nested DAG, to go on in."""
        node = frame.dag.nodes[name]
        start = len(frame.body.steps)
        after = awaited(frame, node)
        inner: list[PlanFrame] = []
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

    def leave(self, frame: PlanFrame) -> None:
        """Hand the outputs of a DAG to the DAG around it, or to the plan."""
        outputs = {
            name: self.resolver.expression(source, frame, f"{name}.{name}")
            for name, source in frame.dag.outputs.items()
        }
        outer, body = frame.parent, frame.body
        if outer is None:
            body.outputs = [
                (name, lower(expr, body, None), self.resolver.codec(expr, frame.codec))
                for name, expr in outputs.items()
            ]
            if frame.dag.returns is not None:
                returns = self.resolver.expression(frame.dag.returns, frame, "result.result")
                body.returns = lower(returns, body, None)
        elif body is outer.body:
            outer.results[frame.name] = outputs
            outer.spans[frame.name] = (outer.spans[frame.name][0], len(body.steps))
        elif body.opener is not None:
            body.returns = shape_of(frame)
            scope_results = {name: self.delegated(name, expr, frame, body.opener) for name, expr in outputs.items()}
            outer.results[frame.name] = {
                name: self.resolver.of_branch(output, frame.fork) if frame.fork else ("ref", output)
                for name, output in scope_results.items()
            }

    def delegated(self, name: str, expr: Expr, frame: PlanFrame, step: StepIR) -> ScopeResult:
        """Return an output of a mapped nested DAG as its step gives it back."""
        return ScopeResult(step, name, (), self.resolver.codec(expr, frame.codec), child=frame.body, value=expr)

    def add_task(self, frame: PlanFrame, name: str, task: Task, after: tuple[int, ...]) -> None:
        """Add the step of a task."""
        options = task.options
        step = StepIR(
            frame.body,
            frame.prefix + name,
            "task",
            target=self.functions.number(task.func, options.by_value),
            queue=queue_for(options.taints, options.queue, default=self.queue),
            after=after,
            lazy=options.lazy,
            options=self.options_of_step(options, is_mapped=fan_source(task) is not None),
        )
        if options.driver is not None:
            step.options = {
                **step.options,
                **dynamic_options(options.driver, self.functions, self.queue, frame.codec),
            }
        elif options.max_concurrent is None and iscoroutinefunction(task.func):
            step.options = self.awaiting_options(step.options)
        exprs = self.inputs(frame, name, task)
        sensitive = self.sensitive(frame, task, exprs)
        if options.sensitive is True:
            step.options = {**step.options, "sensitive": True}
        elif names := sensitive.union(options.sensitive or ()):  # also of those that are left to their defaults
            step.options = {**step.options, "sensitive": sorted(names)}
        self.fan_out(step, frame, name, task)
        append(step)
        for key, expr in exprs.items():
            check_aligned(step, key, expr)
            step.add_argument(key, expr)
        results: dict[str, Expr] = {}
        for key, output in task.outputs.items():
            serializer = output_serializer(output, options)
            codec = self.codecs.number(serializer, frame.codec)
            if task.func is present:  # it hands on what it is codecs, in whatever bytes that is written
                codecs = {self.resolver.codec(expr, codec) for expr in exprs.values()}
                codec = self.codecs.of_composite(codecs, codec, objects=False)
            elif serializer is None:
                codec = self.codecs.of_models([(task.func, "return", options.by_value)], codec)
            # A codec of tables, say, takes no list of tables: its elements are written one by one, as they are read.
            by_element = output.is_partitioned and self.codecs.specs[codec]["kind"] not in GENERAL
            is_iterable = is_declared_iterable(task.func, output)
            results[key] = ("ref", StepResult(step, key, output.steps, codec, is_iterable, by_element))
        frame.results[name] = results

    def options_of_step(self, options: TaskOptions, *, is_mapped: bool) -> Mapping[str, Any]:
        """Return what `step_options` does, once for all nodes that have the very same options."""
        key = id(options), is_mapped  # the DAG that is planned holds them
        if key not in self.options:
            self.options[key] = step_options(options, self.functions, is_mapped=is_mapped)
        return self.options[key]

    def awaiting_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return options that say that workers may await the step beside others; shared as widely as those are."""
        kept = self.awaiting.get(id(options))
        if kept is None:
            kept = self.awaiting[id(options)] = options, {**options, "awaits": True}
        return kept[1]

    def open_flat(self, frame: PlanFrame, name: str, dag: DAG, after: tuple[int, ...]) -> PlanFrame:
        """Return the frame of a nested DAG that runs once, whose nodes become steps of this same body."""
        bindings = self.inputs(frame, name, dag)
        sensitive = self.sensitive(frame, dag, bindings)
        if len(after) > WIDE:
            title = frame.body.unique(f"{frame.prefix}{name}.start")
            barrier = StepIR(frame.body, title, "gather", after=after)
            append(barrier)
            after = (barrier.index,)
        return PlanFrame(
            dag,
            frame.body,
            codec=self.codecs.number(dag.options.serializer, frame.codec),
            name=name,
            prefix=f"{frame.prefix}{name}/",
            after=after,
            parent=frame,
            pending=_in_order(dag),
            bindings=bindings,
            sensitive=sensitive,
        )

    def open_mapped(self, frame: PlanFrame, name: str, dag: DAG, after: tuple[int, ...]) -> PlanFrame:
        """Return the frame of a nested DAG that runs once per item, in a body of its own."""
        step = StepIR(frame.body, frame.prefix + name, "dag", after=after, options=item_options(dag.options))
        exprs = self.inputs(frame, name, dag)
        self.fan_out(step, frame, name, dag)
        return self.entered(step, frame, name, dag, exprs)

    def open_branch(self, frame: PlanFrame, name: str, dag: DAG, after: tuple[int, ...]) -> PlanFrame:
        """Return the frame of a nested DAG that runs if a condition holds: for each item of a list of one or none."""
        assert dag.only_if is not None
        exprs = self.inputs(frame, name, dag)
        fork = self.resolver.fork(exprs[dag.only_if[0]], frame, name)
        step = StepIR(frame.body, frame.prefix + name, "dag", after=after, options={"branch": True})
        step.root = fork.then if dag.only_if[1] else fork.otherwise
        inner = self.entered(step, frame, name, dag, exprs)
        inner.fork = fork
        return inner

    def entered(self, step: StepIR, frame: PlanFrame, name: str, dag: DAG, exprs: dict[str, Expr]) -> PlanFrame:
        """Return the frame of a nested DAG that has a body of its own, which `step` enters."""
        append(step)
        sensitive = self.sensitive(frame, dag, exprs)
        body = self.new_body(step)
        step.target = body.number
        for key, expr in exprs.items():
            check_aligned(step, key, expr)
            if not is_shared(expr):
                codec = self.resolver.codec(expr, frame.codec)
                exprs[key] = ("ref", BodyParameter(body, key, codec, value=expr))
        return PlanFrame(
            dag,
            body,
            codec=self.codecs.number(dag.options.serializer, frame.codec),
            name=name,
            parent=frame,
            pending=_in_order(dag),
            bindings=exprs,
            sensitive=sensitive,
        )

    def inputs(self, frame: PlanFrame, name: str, node: Node) -> dict[str, Expr]:
        """Return the expressions of a node's inputs by name."""
        exprs = {}
        for key, source in node.inputs.items():
            place = f"{name}.{key}"
            expr = self.resolver.expression(source, frame, place)
            if key == node.partition_by_input and not isinstance(source, Each):
                expr = self.resolver.item(expr, frame, place)
            exprs[key] = expr
        return exprs

    def fan_out(self, step: StepIR, frame: PlanFrame, name: str, node: Node) -> None:
        """Let a step run once per item, if its node does."""
        source = fan_source(node)
        if source is None:
            return
        expr = self.resolver.expression(source, frame, f"{name}.over")
        step.source = expr[1] if expr[0] == "ref" else None
        step.root = self.resolver.counted(expr, frame, f"{name}.over")

    def new_body(self, opener: StepIR | None) -> BodyIR:
        """Return a new, empty body."""
        body = BodyIR(len(self.bodies), self.todo, opener)
        self.bodies.append(body)
        return body


def is_declared_iterable(func: Callable[..., Any], output: TaskOutput) -> bool:
    """Whether the author declared that a value is there to be iterated; that others iterate it says nothing."""
    declared = None if output.steps else promise(func)
    return output.is_partitioned if declared is None else declared == "iterable"


def append(step: StepIR) -> None:
    """Give a step its place, after all that it reads."""
    step.index = len(step.body.steps)
    step.body.steps.append(step)
    if step.root is not None:
        step.over = step.root.split(step.body, step)


def awaited(frame: PlanFrame, node: Node) -> tuple[int, ...]:
    """Return the steps that come before `node` only because `after` says so, its own or that of a DAG around it."""
    steps: set[int] = set()
    for upstream in node.after:
        steps.update(_ends(frame.body, *frame.spans[upstream]))
    if frame.after and not dependencies(node):
        steps.update(frame.after)
    return tuple(sorted(steps))


def _ends(body: BodyIR, start: int, stop: int) -> set[int]:
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
    filled_plan = replace(plan, bodies=tuple([_body(body, values) for body in plan.bodies]))
    filled_plan.memo["topology"] = topology(plan)
    return filled_plan


def covered(plan: Plan, sensitive: object) -> Plan:
    """Return the plan of a graph that a task made of values among which are sensitive ones, for True of any: its tasks
    show none of their arguments, since nothing tells which of these were made of them.
    """

    def step(each: Step) -> Step:
        hidden = sensitive is True or each.options.get("sensitive") is True or [name for name, _ in each.arguments]
        names = hidden if hidden is True else sorted({*hidden, *each.options.get("sensitive", ())})
        return replace(each, options={**each.options, "sensitive": names}) if each.kind == "task" and names else each

    bodies = tuple([replace(body, steps=tuple([step(each) for each in body.steps])) for body in plan.bodies])
    covered_plan = replace(plan, bodies=bodies)
    covered_plan.memo["topology"] = topology(plan)
    return covered_plan


def _body(body: Body, values: Sequence[object]) -> Body:
    returns = None if body.returns is None else _expr(body.returns, values)
    return replace(body, steps=tuple([_step(step, values) for step in body.steps]), returns=returns)


def _step(step: Step, values: Sequence[object]) -> Step:
    return replace(step, arguments=tuple([(name, _expr(expr, values)) for name, expr in step.arguments]))


def _expr(expr: Expr, values: Sequence[object]) -> Expr:
    if expr[0] == "live":
        return literal(values[expr[1].number]) if type(expr[1]) is Open else expr
    return rebuilt(expr, lambda part: _expr(part, values))
