"""A DAG is nodes, inputs and outputs: a frozen value, valid once it exists.

The rules that make it valid are below the classes, one function a rule; a broken one raises InvalidDag. Rules of tasks
look at one task alone, rules of DAGs at a DAG and the nodes directly in it: a node was checked when it was made, so no
rule needs to look deeper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.model.names import NAME_RULE, is_in, is_name, short_name
from dagcelery.model.nodes import OUTPUTS, Frozen, FrozenMapping, TaskOutput, layers
from dagcelery.model.options import (
    DagOptions,
    TaskOptions,
    check_sensitive,
    checked,
    is_sensitive,
    tolerance,
    with_lazy,
    words,
)
from dagcelery.model.readings import Readings, readings_of_inputs, readings_of_outputs
from dagcelery.model.serializers import check_serializer
from dagcelery.model.sources import (
    EMPTY,
    READABLE,
    Each,
    FromNodeOutput,
    FromParam,
    Readable,
    Source,
    Splice,
    check_sources,
    described,
    own_items,
)
from dagcelery.objects import same
from dagcelery.signatures import binding, lazy_parameters, signature
from dagcelery.text import choices, constructor_arguments, listed, shown
from dagcelery.tracebacks import shortened


class Task(Frozen):
    """A function with where its arguments come from and what is kept of its returned value.

    `inputs` are called like the parameters of `func`. The task runs once per item of a list if an input is an
    `Each`, if `partition_by_input` names one that is split up, or if `over` is given; `after` names sibling
    nodes that must have finished first. Raises InvalidDag.
    """

    func: Callable[..., Any]
    inputs: Mapping[str, Source]
    outputs: Mapping[str, TaskOutput]
    runtime_options: Mapping[str, Any]
    partition_by_input: str | None
    options: TaskOptions
    after: tuple[str, ...]
    over: Readable | None
    _readings: Readings

    @shortened
    def __init__(
        self,
        func: Callable[..., Any],
        inputs: Mapping[str, Source] | None = None,
        outputs: Mapping[str, TaskOutput] | None = None,
        runtime_options: Mapping[str, Any] | None = None,
        partition_by_input: str | None = None,
        *,
        options: TaskOptions | None = None,
        after: Iterable[str] = (),
        over: Readable | None = None,
    ) -> None:
        options = checked(options, TaskOptions)
        inputs = FrozenMapping(inputs or {}, "inputs of a task")
        self._become(
            func=func,
            inputs=inputs,
            outputs=FrozenMapping(outputs or {}, "outputs of a task"),
            runtime_options=FrozenMapping(runtime_options or {}, "runtime options of a task"),
            partition_by_input=partition_by_input,
            options=with_lazy(options, lazy_parameters(func, inputs)),
            after=words("after", after),
            over=over,
        )
        for rule in SOURCE_RULES:
            rule(self)
        self._become(_readings=readings_of_inputs(inputs, partition_by_input, over))
        for rule in TASK_RULES:
            rule(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Task) or not same(self.func, other.func):
            return False
        return {**self.__dict__, "func": None} == {**other.__dict__, "func": None}

    __hash__ = Frozen.__hash__

    def __repr__(self) -> str:
        hidden = {name: FromParam() for name in hidden_inputs(self)}
        return self._shown_with(inputs={**self.inputs, **hidden})


class DAG(Frozen):
    """Nodes that feed each other, what they take from outside and what they give back.

    At the top, `inputs` declare parameters; where the DAG is itself a node they say where its parameters
    come from, in the names of the DAG around it. `returns` is the shape of the result; without it outputs
    are returned by name, or the bare value of the only output if that is called "return_value".

    A DAG that is a node may be a *branch*: with ``only_if=("x", True)`` it runs only if the value of its input "x" is
    true, with False only if it is not. Else its nodes are skipped, and its outputs are None. Raises InvalidDag, or
    CyclicDependency.
    """

    nodes: Mapping[str, Node]
    inputs: Mapping[str, Source]
    outputs: Mapping[str, Source]
    runtime_options: Mapping[str, Any]
    partition_by_input: str | None
    name: str | None
    options: DagOptions
    after: tuple[str, ...]
    over: Readable | None
    returns: Source | None
    only_if: tuple[str, bool] | None
    _readings: Readings
    _given_back: Readings
    _order: list[set[str]]
    _sensitive: frozenset[str]

    @shortened
    def __init__(
        self,
        nodes: Mapping[str, Node],
        inputs: Mapping[str, Source] | None = None,
        outputs: Mapping[str, Source] | None = None,
        runtime_options: Mapping[str, Any] | None = None,
        partition_by_input: str | None = None,
        *,
        name: str | None = None,
        options: DagOptions | None = None,
        after: Iterable[str] = (),
        over: Readable | None = None,
        returns: Source | None = None,
        only_if: tuple[str, bool] | None = None,
    ) -> None:
        self._become(
            nodes=FrozenMapping(nodes, "nodes of a DAG"),
            inputs=FrozenMapping(inputs or {}, "inputs of a DAG"),
            outputs=FrozenMapping(outputs or {}, "outputs of a DAG"),
            runtime_options=FrozenMapping(runtime_options or {}, "runtime options of a DAG"),
            partition_by_input=partition_by_input,
            name=name,
            options=checked(options, DagOptions),
            after=words("after", after),
            over=over,
            returns=returns,
            only_if=only_if,
        )
        try:
            for rule in NODE_RULES:
                rule(self)
            self._become(
                _readings=readings_of_inputs(self.inputs, partition_by_input, over),
                _given_back=readings_of_outputs(self.outputs, returns),
            )
            for rule in PART_RULES:
                rule(self)
        except RecursionError as error:
            problem = "nests lists or dicts of sources more deeply than Python can follow"
            raise InvalidDag(f"DAG {name!r}", problem, "use fewer levels") from error
        self._become(_order=layers({n: dependencies(node) for n, node in self.nodes.items()}))
        self._become(_sensitive=hidden_inputs(self))
        for rule in LIST_RULES:  # now that it is known that no node needs itself
            rule(self)

    def __repr__(self) -> str:
        named = ("nodes", "inputs", "outputs")
        parts = [f"{name} {', '.join(values)}" for name in named if (values := getattr(self, name))]
        shown_otherwise = (*named, "name", "returns")
        parts += [each for each in constructor_arguments(self) if each.partition("=")[0] not in shown_otherwise]
        return f"<{' '.join(filter(None, ('DAG', self.name)))}: {'; '.join(parts)}>"

    @property
    def node_execution_order(self) -> list[set[str]]:
        """The names of the nodes in groups; each group needs only earlier ones, and may run at once."""
        return [set(layer) for layer in self._order]


Node: TypeAlias = Task | DAG

# --- reading nodes ---

Root: TypeAlias = tuple[str, str]


def fan_source(node: Node) -> Readable | None:
    """Return the source that `node` runs once per item of; None if it runs once.

    It may be the output of a fan-out: then `node` runs once per item of whatever that one runs over.
    """
    items = node._readings.items  # all of them must have the same items
    return items[0] if items else None


def roots(dag: DAG) -> dict[str, Root]:
    """Return for each fan-out of `dag` where its items come from: (node, output) or ("", parameter)."""
    roots_of_nodes: dict[str, Root] = {}
    for layer in dag.node_execution_order:
        for name in layer:
            source = fan_source(dag.nodes[name])
            if source is not None:
                roots_of_nodes[name] = root(source, roots_of_nodes)
    return roots_of_nodes


def root(source: Readable, roots_before: Mapping[str, Root]) -> Root:
    """Return where the items of `source` come from; `roots_before` are those of the nodes before it."""
    if isinstance(source, FromParam):
        return "", source.name or ""
    return roots_before.get(source.node, (source.node, source.output))


def readings(node: Node) -> Iterable[tuple[str | None, Readable]]:
    """Return all that a node reads, each with the name of its input; without one where that is `over`."""
    return node._readings.reads


def dependencies(node: Node) -> set[str]:
    """Return the names of the siblings that `node` waits for: those it reads, and those it comes after."""
    return {read.node for _, read in node._readings.reads if isinstance(read, FromNodeOutput)}.union(node.after)


def hidden_inputs(node: Node) -> frozenset[str]:
    """Return the inputs of a node that are never shown: of a DAG also those that sensitive ones of its nodes read.

    A DAG asks when it is made, and remembers: its nodes know theirs by then, however deep they nest.
    """
    if isinstance(node, DAG) and "_sensitive" in node.__dict__:
        return node._sensitive
    found = {name for name in node.inputs if is_sensitive(node.options, name)} if node.options.sensitive else set[str]()
    for inner in node.nodes.values() if isinstance(node, DAG) else ():
        if hidden := hidden_inputs(inner):
            of_params = [(name, read) for name, read in inner._readings.reads if isinstance(read, FromParam)]
            found.update(read.name or "" for name, read in of_params if name in hidden)
    return frozenset(found & node.inputs.keys())


# --- a task alone ---


def function_is_callable(task: Task) -> None:
    if not callable(task.func):
        raise InvalidDagType(f"func={shown(task.func)}", "cannot be called", "give a function")


def names_are_valid(node: Node) -> None:
    for kind, names in (("input", node.inputs), ("output", node.outputs)):
        for name in names:
            if not is_name(name):
                raise InvalidDag(f"{kind} {shown(name)} of {_title(node)}", "is not a valid name", _VALID_NAME)
    if node.options.sensitive:
        takes = signature(node.func) if isinstance(node, Task) else None
        check_sensitive(_title(node), node.options, node.inputs, takes)


def inputs_are_sources(node: Node) -> None:
    for name, source in node.inputs.items():
        check_sources(source, partial(_title_of_input, name, node))
    if node.over is not None and not isinstance(node.over, FromParam | FromNodeOutput):
        raise InvalidDagType(f"over={shown(node.over)} of {_title(node)}", "is not a list", f"give {READABLE}")


def task_outputs_are_supported(task: Task) -> None:
    for name, output in task.outputs.items():
        if not isinstance(output, OUTPUTS):
            remedy = f"use one of {listed([kind.__name__ for kind in OUTPUTS], 'or')}"
            problem = f"is of type {type(output).__name__!r}"
            raise InvalidDagType(f"output {shown(name)} of {_title(task)}", problem, remedy)
        check_serializer(output.serializer)
        for _, step in output.steps:
            if not isinstance(step, str | int):
                culprit = f"output {shown(name)} of {_title(task)}"
                raise InvalidDagType(culprit, f"reads {shown(output)}", "name a key or a property")


def inputs_fit_the_function(task: Task) -> None:
    _check_call("", task.func, task)
    if task.options.cache is not None and callable(task.options.cache.key):
        _check_call("the cache key of ", task.options.cache.key, task)


def split_input_exists(node: Node) -> None:
    name = node.partition_by_input
    if name is None:
        return
    if not is_in(name, node.inputs):
        culprit = f"partition_by_input={shown(name)} of {_title(node)}"
        raise InvalidDag(culprit, "is none of its inputs", choices(name, node.inputs))
    if not isinstance(node.inputs[name], FromParam | FromNodeOutput | Each):
        raise InvalidDagType(
            f"input {shown(name)} of {_title(node)}, which it is partitioned by",
            f"is a {type(node.inputs[name]).__name__}, not one list",
            f"take it from {READABLE}",
        )


def fan_outs_keep_whole_results(task: Task) -> None:
    split = [name for name, output in task.outputs.items() if output.is_partitioned]
    if split and fan_source(task) is not None:
        raise InvalidDag(
            f"output {split[0]!r} of {_title(task)}",
            "is partitioned, and so is the task itself",
            "put this task, and those that take its elements, into a nested DAG that runs once per item",
        )


# --- a DAG and its nodes ---


def dag_name_is_text(dag: DAG) -> None:
    if dag.name is not None and (not isinstance(dag.name, str) or not dag.name):
        raise InvalidDagType(f"name={shown(dag.name)} of a DAG", "is not a str", "give a str, or leave it out")


def there_are_nodes(dag: DAG) -> None:
    if not dag.nodes:
        raise InvalidDag(_title(dag), "has no node", NO_NODES)


def node_names_are_valid(dag: DAG) -> None:
    for name in dag.nodes:
        if not is_name(name):
            raise InvalidDag(f"node {shown(name)} of {_title(dag)}", "is not a valid name for a node", _VALID_NAME)


def nodes_are_nodes(dag: DAG) -> None:
    for name, node in dag.nodes.items():
        if not isinstance(node, Task | DAG):
            raise InvalidDagType(f"node {shown(name)}", f"is of type {type(node).__name__!r}", "give a Task or a DAG")


def outputs_are_sources(dag: DAG) -> None:
    returns = {} if dag.returns is None else {None: dag.returns}
    for name, source in (*dag.outputs.items(), *returns.items()):
        check_sources(source, partial(_title_of_output, name, dag))
        if any(own_items(source)):
            problem = "takes one element, but a DAG gives back whole lists"
            raise InvalidDag(_title_of_output(name, dag), problem, "leave Each out")


def reads_exist(dag: DAG) -> None:
    for node, name, read in _reads_in(dag):
        if isinstance(read, FromParam):
            if not is_in(read.name, dag.inputs) and read.default_value is EMPTY:
                problem = f"reads parameter {shown(read.name)}, which this DAG does not have"
                raise InvalidDag(_place(dag, node, name), problem, choices(read.name, dag.inputs))
        elif not is_in(read.node, dag.nodes):
            problem = f"reads node {shown(read.node)}, which this DAG does not have"
            raise InvalidDag(_place(dag, node, name), problem, choices(read.node, dag.nodes))
        elif not is_in(read.output, dag.nodes[read.node].outputs):
            problem = f"reads output {shown(read.output)}, which node {shown(read.node)} does not have"
            raise InvalidDag(_place(dag, node, name), problem, choices(read.output, dag.nodes[read.node].outputs))


def upstreams_exist(dag: DAG) -> None:
    for name, node in dag.nodes.items():
        for upstream in node.after:
            if not is_in(upstream, dag.nodes):
                culprit = f"after={shown(upstream)} of node {shown(name)}"
                raise InvalidDag(culprit, "is not a node of this DAG", choices(upstream, dag.nodes))


def serializers_agree(dag: DAG) -> None:
    for node, name, read in _reads_in(dag):
        if read.serializer is None:
            continue
        if isinstance(read, FromNodeOutput):
            written: object = dag.nodes[read.node].outputs[read.output]
        else:
            written = dag.inputs.get(read.name or "", read)
        serializer = getattr(written, "serializer", None)
        if serializer != read.serializer:
            raise InvalidDag(
                _place(dag, node, name),
                f"reads with {shown(read.serializer)} a value written with {serializer or 'the default serializer'!r}",
                "name the same serializer at both ends, or leave it out where it is read",
            )


def lists_are_kept_by_element(dag: DAG) -> None:
    taken = [(name, None, read) for name, node in dag.nodes.items() for read in node._readings.items]
    for node, name, read in (*taken, *((node, name, splice.over) for node, name, splice in _splices(dag))):
        if isinstance(read, FromNodeOutput) and not _is_split(dag.nodes[read.node], read.output):
            raise InvalidDag(
                f"node {shown(node)}" if node is not None and name is None else _place(dag, node, name),
                f"iterates output {shown(read.output)} of node {shown(read.node)}, which is not partitioned",
                "declare that output with is_partitioned=True",
            )


def items_are_aligned(dag: DAG) -> None:
    several = {name: node._readings.items for name, node in dag.nodes.items() if len(node._readings.items) > 1}
    roots_of_nodes = roots(dag) if several else {}
    for name, items in several.items():
        by_root = {root(source, roots_of_nodes): source for source in items}
        if len(by_root) > 1:
            first, second = [described(source) for source in list(by_root.values())[:2]]
            raise InvalidDag(f"node {shown(name)}", f"takes items of {first} and of {second} at once", _NEST)


def splices_are_aligned(dag: DAG) -> None:
    splices = list(_splices(dag))
    roots_of_nodes = roots(dag) if splices else {}
    for node, name, splice in splices:
        own, place = root(splice.over, roots_of_nodes), _place(dag, node, name)
        by_root = {root(read, roots_of_nodes): read for read in own_items(splice.template)}
        if not by_root:
            raise InvalidDag(place, "repeats one element for all items", "use Each in the template")
        for other, read in by_root.items():
            if other != own:
                problem = f"takes items of {described(read)} while it goes through {described(splice.over)}"
                raise InvalidDag(place, problem, _NEST)


def condition_is_an_input(dag: DAG) -> None:
    if dag.only_if is None:
        return
    culprit = f"only_if={shown(dag.only_if)}"
    if not isinstance(dag.only_if, tuple) or len(dag.only_if) != 2 or not isinstance(dag.only_if[1], bool):
        raise InvalidDagType(culprit, "is not a condition", "give the name of an input, and True or False")
    if not is_in(dag.only_if[0], dag.inputs):
        raise InvalidDag(culprit, "names none of its inputs", choices(dag.only_if[0], dag.inputs))


def branches_run_at_most_once(dag: DAG) -> None:
    for name, node in dag.nodes.items():
        if getattr(node, "only_if", None) is not None and fan_source(node) is not None:
            raise InvalidDag(
                f"node {shown(name)}",
                "runs only if a condition holds, and once per item",
                "put it into a nested DAG that runs once per item",
            )


def items_that_may_fail_exist(dag: DAG) -> None:
    for name, node in dag.nodes.items():
        option = tolerance(node.options)
        if option and fan_source(node) is None:
            called = getattr(node, "func", None)
            what = f"task {short_name(called)!r}" if called is not None else _title(node)
            raise InvalidDag(
                f"{option} of {what}",
                f"has no effect on node {shown(name)}, which has no items: it is not called for each element of a list",
                "put it on what is called for each of them, such as the @dag around; "
                "here call .options(on_item_failure='fail')",
            )


def choices_have_conditions(dag: DAG) -> None:
    for readings in (dag._given_back, *(node._readings for node in dag.nodes.values())):
        for choice in readings.choices:
            if not isinstance(choice.condition, FromParam | FromNodeOutput):
                culprit = f"condition={shown(choice.condition)} of a Choice"
                raise InvalidDagType(culprit, "is not a value that a run makes", f"give {READABLE}")


SOURCE_RULES: tuple[Callable[[Task], None], ...] = (
    function_is_callable,
    names_are_valid,
    inputs_are_sources,
)
"""After these it can be told what a task reads."""

TASK_RULES: tuple[Callable[[Task], None], ...] = (
    task_outputs_are_supported,
    inputs_fit_the_function,
    split_input_exists,
    fan_outs_keep_whole_results,
)

NODE_RULES: tuple[Callable[[DAG], None], ...] = (
    dag_name_is_text,
    there_are_nodes,
    node_names_are_valid,
    nodes_are_nodes,
    names_are_valid,
    inputs_are_sources,
    split_input_exists,
    outputs_are_sources,
)
"""After these it can be told what a DAG reads and gives back."""

PART_RULES: tuple[Callable[[DAG], None], ...] = (
    reads_exist,
    upstreams_exist,
    serializers_agree,
    condition_is_an_input,
    branches_run_at_most_once,
    items_that_may_fail_exist,
    choices_have_conditions,
)

LIST_RULES: tuple[Callable[[DAG], None], ...] = (
    lists_are_kept_by_element,
    items_are_aligned,
    splices_are_aligned,
)


# --- parts of rules ---

NO_NODES: Final = "A DAG needs to contain at least one node"

_VALID_NAME: Final = f"use {NAME_RULE}"

_NEST: Final = "give a node one list, and put the other into a nested DAG that runs once per item of the first"


def _title(node: Node) -> str:
    func = getattr(node, "func", None)
    if func is not None:
        return f"task {getattr(func, '__name__', shown(func))!r}"
    name = getattr(node, "name", None)
    return f"DAG {shown(name)}" if name else "this DAG"


def _title_of_input(name: str, node: Node) -> str:
    return f"input {shown(name)} of {_title(node)}"


def _title_of_output(name: str | None, dag: DAG) -> str:
    return f"the returned value of {_title(dag)}" if name is None else f"output {shown(name)} of {_title(dag)}"


def _check_call(what: str, func: Callable[..., object], task: Task) -> None:
    takes = binding(func)
    if takes is None or takes.fits(task.inputs.keys()):
        return
    parameters = takes.signature
    try:
        parameters.bind(**dict.fromkeys(task.inputs))
    except TypeError as error:
        plural = "" if len(task.inputs) == 1 else "s"
        inputs = f"input{plural} {listed(task.inputs)}" if task.inputs else "no inputs"
        remedy = f"give inputs that fit its signature {parameters}"
        raise InvalidDagType(f"{what}{_title(task)} with {inputs}", f"cannot be called: {error}", remedy) from None


# Places are a node, None for what the DAG itself gives back, and an input or an output, None for `over` and what the
# DAG returns. They become text only where a rule is broken.


def _place(dag: DAG, node: str | None, name: str | None) -> str:
    if node is None:
        return _title_of_output(name, dag)
    return f"over= of node {shown(node)}" if name is None else f"Error validating input {name!r} of node {node!r}"


def _readings(dag: DAG) -> Iterator[tuple[str | None, Readings]]:
    for node, each in dag.nodes.items():
        yield node, each._readings
    yield None, dag._given_back


def _reads_in(dag: DAG) -> Iterator[tuple[str | None, str | None, Readable]]:
    return ((node, name, read) for node, found in _readings(dag) for name, read in found.reads)


def _splices(dag: DAG) -> Iterator[tuple[str | None, str | None, Splice]]:
    return ((node, name, splice) for node, found in _readings(dag) for name, splice in found.splices)


def _is_split(node: Node, output: str) -> bool:
    # Results of a fan-out lie there by item; what a nested DAG gives back is taken apart when it is read.
    return fan_source(node) is not None or getattr(node.outputs[output], "is_partitioned", True)
