"""The rules that every task and DAG keeps, one function a rule; a broken one raises InvalidDag.

Task rules look at one task alone, DAG rules at a DAG and the nodes directly in it: a node was checked when it
was made, so that no rule needs to look deeper.

Rules for one source by itself, whatever it lies in: how it is made, and how deeply its value is nested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.model import nodes
from dagcelery.model.nodes import BRANCH_RULES, NAME_RULE, OUTPUTS, is_in, is_name
from dagcelery.model.options import check_serializer
from dagcelery.model.signatures import signature
from dagcelery.model.sources import (
    EMPTY,
    SOURCES,
    Each,
    FromNodeOutput,
    FromParam,
    ListOf,
    Literal,
    Part,
    Readable,
    Source,
    Splice,
    own_items,
    parts,
    reads,
    splices,
    walk,
)
from dagcelery.text import choices, listed, shown

if TYPE_CHECKING:
    from dagcelery.model.graph import DAG, Node, Task


MOST_LEVELS: Final = 100
"""Values are planned, written and read by recursion, of which Python allows about 1,000 steps."""

MOST_NESTED_DAGS: Final = 100

_CONTAINERS: Final = frozenset({list, tuple, dict, set, frozenset})


def check_source(place: str, part: Source | Splice) -> None:
    """Raise InvalidDag naming `place` for a source that is not made of tuples, or whose value is nested too deeply."""
    if isinstance(part, FromParam | FromNodeOutput):
        check_serializer(part.serializer)
    value = part.value if isinstance(part, Literal) else getattr(part, "default_value", None)
    if fault := depth_fault(value):
        raise InvalidDag(place, *fault)
    held = getattr(part, "items", getattr(part, "pairs", getattr(part, "steps", ())))
    if not isinstance(held, tuple):
        kind, wrong = type(part).__name__, f"is made of {shown(held)}, which is not a tuple"
        raise InvalidDagType(f"{place}: {kind}", wrong, f"write {kind}((..., ...))")


def depth_fault(value: object) -> tuple[str, str] | None:
    """Return what is wrong with `value`, where, and what would be right; None if it is not nested too deeply."""
    if type(value) not in _CONTAINERS:
        return None
    path: list[tuple[Any, Iterator[tuple[Any, Any]]]] = [(value, _parts(value))]
    keys: list[Any] = []
    while path:
        key, part = next(path[-1][1], (None, None))
        if part is None:
            path.pop()
            if keys:
                keys.pop()
            continue
        keys.append(key)
        if any(part is above for above, _ in path):
            return f"contains itself at {_at(keys)}", "break the circle, or make it in a task"
        if len(path) >= MOST_LEVELS:
            wrong = f"is nested more than {MOST_LEVELS} levels deep, at {_at(keys[:3])}..."
            return wrong, "make it flatter, or pass it as a parameter that is serialized with AsPickle()"
        path.append((part, _parts(part)))
    return None


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the containers in a container, with their keys."""
    pairs: Iterable[tuple[Any, Any]] = value.items() if type(value) is dict else enumerate(value)
    return ((key, part) for key, part in pairs if type(part) in _CONTAINERS)


def _at(keys: list[Any]) -> str:
    return "".join(f"[{shown(key, 60)}]" for key in keys)


def check_task(task: Task) -> None:
    """Check what can be known of a task without its siblings."""
    for rule in TASK_RULES:
        rule(task)


def check_parts(dag: DAG) -> None:
    """Check that all that a DAG mentions exists and may stand where it stands."""
    for rule in PART_RULES:
        rule(dag)


def check_lists(dag: DAG) -> None:
    """Check fan-outs, once it is known that no node needs itself."""
    for rule in LIST_RULES:
        rule(dag)


# --- a task alone ---


def function_is_callable(task: Task) -> None:
    if not callable(task.func):
        raise InvalidDagType(f"func={shown(task.func)}", "cannot be called", "give a function")


def names_are_valid(node: Node) -> None:
    for kind, names in (("input", node.inputs), ("output", node.outputs)):
        for name in names:
            if not is_name(name):
                raise InvalidDag(f"{kind} {shown(name)} of {_title(node)}", "is not a valid name", _NAME)


def inputs_are_sources(node: Node) -> None:
    for name, source in node.inputs.items():
        _check_source(f"input {shown(name)} of {_title(node)}", source)
    if node.over is not None and not isinstance(node.over, FromParam | FromNodeOutput):
        raise InvalidDagType(f"over={shown(node.over)} of {_title(node)}", "is not a list", f"give {_READABLE}")


def task_outputs_are_supported(task: Task) -> None:
    for name, output in task.outputs.items():
        if not isinstance(output, OUTPUTS):
            raise InvalidDagType(
                f"output {shown(name)} of {_title(task)}",
                f"is of type {type(output).__name__!r}",
                f"use one of {listed([kind.__name__ for kind in OUTPUTS], 'or')}",
            )
        check_serializer(output.serializer)
        if not all(isinstance(step, str | int) for _, step in output.steps):
            raise InvalidDagType(
                f"output {shown(name)} of {_title(task)}", f"reads {shown(output)}", "name a key or a property"
            )


def inputs_fit_the_function(task: Task) -> None:
    _check_call(_title(task), task.func, task)
    if task.options.cache is not None and callable(task.options.cache.key):
        _check_call(f"the cache key of {_title(task)}", task.options.cache.key, task)


def split_input_exists(node: Node) -> None:
    name = node.partition_by_input
    if name is None:
        return
    if not is_in(name, node.inputs):
        right = choices(name, node.inputs)
        raise InvalidDag(f"partition_by_input={shown(name)} of {_title(node)}", "is none of its inputs", right)
    if not isinstance(node.inputs[name], FromParam | FromNodeOutput | Each):
        raise InvalidDagType(
            f"input {shown(name)} of {_title(node)}, which it is partitioned by",
            f"is a {type(node.inputs[name]).__name__}, not one list",
            f"take it from {_READABLE}",
        )


def fan_outs_keep_whole_results(task: Task) -> None:
    split = [name for name, output in task.outputs.items() if output.is_partitioned]
    if split and nodes.fan_source(task) is not None:
        raise InvalidDag(
            f"output {split[0]!r} of {_title(task)}",
            "is partitioned, and so is the task itself",
            "let a nested DAG that runs once per item hold this task and those that take its elements",
        )


# --- a DAG and its nodes ---


def dag_name_is_text(dag: DAG) -> None:
    if dag.name is not None and (not isinstance(dag.name, str) or not dag.name):
        raise InvalidDagType(f"name={shown(dag.name)} of a DAG", "is not a str", "give a str, or leave it out")


def there_are_nodes(dag: DAG) -> None:
    if not dag.nodes:
        raise InvalidDag(_title(dag), "has no node", "A DAG needs to contain at least one node")


def node_names_are_valid(dag: DAG) -> None:
    for name in dag.nodes:
        if not is_name(name):
            raise InvalidDag(f"node {shown(name)}", "is not a valid name for a node", _NAME)


def nodes_are_nodes(dag: DAG) -> None:
    for name, node in dag.nodes.items():
        if not _is_node(node):
            raise InvalidDagType(f"node {shown(name)}", f"is of type {type(node).__name__!r}", "give a Task or a DAG")


def outputs_are_sources(dag: DAG) -> None:
    for place, source in _given_back(dag):
        _check_source(place, source)
        if any(own_items(source)):
            raise InvalidDag(place, "takes one element, but a DAG gives back whole lists", "leave Each out")


def inputs_exist(dag: DAG) -> None:
    for name, node in dag.nodes.items():
        for place, read in _reads_of(name, node):
            _check_read(place, read, dag)


def outputs_exist(dag: DAG) -> None:
    for place, source in _given_back(dag):
        for read in reads(source):
            _check_read(place, read, dag)


def upstreams_exist(dag: DAG) -> None:
    for name, node in dag.nodes.items():
        for upstream in node.after:
            if not is_in(upstream, dag.nodes):
                place = f"node {shown(name)} comes after {shown(upstream)}"
                raise InvalidDag(place, "which is not a node of this DAG", choices(upstream, dag.nodes))


def serializers_agree(dag: DAG) -> None:
    for name, node in dag.nodes.items():
        for place, read in _reads_of(name, node):
            _check_serializer(place, read, dag)
    for place, source in _given_back(dag):
        for read in reads(source):
            _check_serializer(place, read, dag)


def lists_are_kept_by_element(dag: DAG) -> None:
    for place, read in _iterated(dag):
        if isinstance(read, FromNodeOutput) and not _is_split(dag.nodes[read.node], read.output):
            raise InvalidDag(
                place,
                f"iterates output {shown(read.output)} of node {shown(read.node)}, which is not partitioned",
                "declare that output with is_partitioned=True",
            )


def items_are_aligned(dag: DAG) -> None:
    known = nodes.roots(dag)
    for name, node in dag.nodes.items():
        found = {nodes.root(source, known): source for source in nodes.fan_sources(node)}
        if len(found) > 1:
            first, second = [_called(source) for source in list(found.values())[:2]]
            raise InvalidDag(f"node {shown(name)}", f"takes items of {first} and of {second} at once", _NEST)


def splices_are_aligned(dag: DAG) -> None:
    known = nodes.roots(dag)
    for place, splice in _splices(dag):
        own = nodes.root(splice.over, known)
        found = {nodes.root(read, known): read for read in own_items(splice.template)}
        if not found:
            raise InvalidDag(place, "repeats one element for all items", "use Each in the template")
        for other, read in found.items():
            if other != own:
                wrong = f"takes items of {_called(read)} while it goes through {_called(splice.over)}"
                raise InvalidDag(place, wrong, _NEST)


TASK_RULES: tuple[Callable[[Task], None], ...] = (
    function_is_callable,
    names_are_valid,
    inputs_are_sources,
    task_outputs_are_supported,
    inputs_fit_the_function,
    split_input_exists,
    fan_outs_keep_whole_results,
)

PART_RULES: tuple[Callable[[DAG], None], ...] = (
    dag_name_is_text,
    there_are_nodes,
    node_names_are_valid,
    nodes_are_nodes,
    names_are_valid,
    inputs_are_sources,
    split_input_exists,
    outputs_are_sources,
    inputs_exist,
    outputs_exist,
    upstreams_exist,
    serializers_agree,
    *BRANCH_RULES,
)

LIST_RULES: tuple[Callable[[DAG], None], ...] = (
    lists_are_kept_by_element,
    items_are_aligned,
    splices_are_aligned,
)


# --- what the rules are made of ---

_READABLE = "FromParam(...) or FromNodeOutput(...)"

_NAME = f"use {NAME_RULE}"

_NEST = "give a node one list, and put the other into a nested DAG that runs once per item of the first"


def _title(node: Node) -> str:
    func = getattr(node, "func", None)
    if func is not None:
        return f"task {getattr(func, '__name__', shown(func))!r}"
    name = getattr(node, "name", None)
    return f"DAG {shown(name)}" if name else "this DAG"


def _check_call(title: str, func: Callable[..., object], task: Task) -> None:
    known = signature(func)
    try:
        if known is not None:
            known.bind(**dict.fromkeys(task.inputs))
    except TypeError as error:
        right = f"give inputs that fit its signature {known}"
        raise InvalidDagType(f"{title} with {_inputs(task)}", f"cannot be called: {error}", right) from None


def _is_node(node: object) -> bool:
    return all(hasattr(node, attribute) for attribute in ("inputs", "outputs", "after", "over"))


def _inputs(task: Task) -> str:
    if not task.inputs:
        return "no inputs"
    return f"input{'s' if len(task.inputs) > 1 else ''} {listed(task.inputs)}"


def _called(read: Readable) -> str:
    if isinstance(read, FromParam):
        return f"parameter {shown(read.name)}"
    return f"output {shown(read.output)} of node {shown(read.node)}"


def _given_back(dag: DAG) -> Iterator[tuple[str, Source]]:
    for name, source in dag.outputs.items():
        yield f"output {shown(name)} of {_title(dag)}", source
    if dag.returns is not None:
        yield f"the returned value of {_title(dag)}", dag.returns


def _place(input_name: str, node_name: str) -> str:
    return f"Error validating input {input_name!r} of node {node_name!r}"


def _reads_of(name: str, node: Node) -> Iterator[tuple[str, Readable]]:
    for input_name, source in node.inputs.items():
        for read in reads(source):
            yield _place(input_name, name), nodes.named(read, input_name)
    if node.over is not None:
        yield f"over= of node {shown(name)}", node.over


def _iterated(dag: DAG) -> Iterator[tuple[str, Readable]]:
    for name, node in dag.nodes.items():
        for read in nodes.fan_sources(node):
            yield f"node {shown(name)}", read
    for place, splice in _splices(dag):
        yield place, splice.over


def _splices(dag: DAG) -> Iterator[tuple[str, Splice]]:
    for name, node in dag.nodes.items():
        for input_name, source in node.inputs.items():
            for splice in splices(source):
                yield _place(input_name, name), splice
    for place, source in _given_back(dag):
        for splice in splices(source):
            yield place, splice


def _is_split(node: Node, output: str) -> bool:
    # Results of a fan-out lie there by item; what a nested DAG gives back is taken apart when it is read.
    return nodes.fan_source(node) is not None or getattr(node.outputs[output], "is_partitioned", True)


def _check_source(place: str, source: object) -> None:
    if not isinstance(source, SOURCES):
        raise InvalidDagType(
            place,
            f"is of type {type(source).__name__!r}",
            f"use one of {listed([kind.__name__ for kind in SOURCES], 'or')}; Literal(...) holds a value",
        )
    for part in walk(source):
        check_source(place, part)
        if isinstance(part, Splice) and not isinstance(part.over, FromParam | FromNodeOutput):
            raise InvalidDagType(f"{place}: over={shown(part.over)}", "is not a list", f"give {_READABLE}")
        for inner in parts(part):
            if isinstance(inner, Splice):
                if not isinstance(part, ListOf):
                    raise InvalidDagType(f"{place}: a Splice", "stands outside of a ListOf", "put it into one")
            elif not isinstance(inner, _allowed_in(part)):
                kind = type(part).__name__
                wrong = f"cannot hold {shown(inner)} of type {type(inner).__name__!r}"
                raise InvalidDagType(f"{place}: {kind}", wrong, "put values into Literal(...)")


def _allowed_in(part: Source | Splice) -> tuple[type[Source], ...]:
    if isinstance(part, Each):
        return (FromParam, FromNodeOutput)
    return (FromParam, FromNodeOutput, Each) if isinstance(part, Part) else SOURCES


def _check_read(place: str, read: Readable, dag: DAG) -> None:
    if isinstance(read, FromParam):
        if not is_in(read.name, dag.inputs) and read.default_value is EMPTY:
            wrong = f"reads parameter {shown(read.name)}, which this DAG does not have"
            raise InvalidDag(place, wrong, choices(read.name, dag.inputs))
    elif not is_in(read.node, dag.nodes):
        raise InvalidDag(
            place, f"reads node {shown(read.node)}, which this DAG does not have", choices(read.node, dag.nodes)
        )
    elif not is_in(read.output, dag.nodes[read.node].outputs):
        wrong = f"reads output {shown(read.output)}, which node {shown(read.node)} does not have"
        raise InvalidDag(place, wrong, choices(read.output, dag.nodes[read.node].outputs))


def _check_serializer(place: str, read: Readable, dag: DAG) -> None:
    if read.serializer is None:
        return
    if isinstance(read, FromNodeOutput):
        given: object = dag.nodes[read.node].outputs[read.output]
    else:
        given = dag.inputs.get(read.name or "", read)
    written = getattr(given, "serializer", None)
    if written != read.serializer:
        raise InvalidDag(
            place,
            f"reads with {shown(read.serializer)} what is written with {written or 'the default serializer'!r}",
            "name the same serializer at both ends, or leave it out where it is read",
        )
