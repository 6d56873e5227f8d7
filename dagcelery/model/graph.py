"""A DAG is nodes, inputs and outputs: a frozen value, valid once it exists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from dagcelery.errors import InvalidDag
from dagcelery.model import rules
from dagcelery.model.nodes import Frozen, FrozenMapping, TaskOutput, dependencies, fan_source, layers
from dagcelery.model.options import DagOptions, TaskOptions, checked, words
from dagcelery.model.signatures import lazy_parameters
from dagcelery.model.sources import Readable, Source
from dagcelery.objects import same
from dagcelery.text import constructor_arguments
from dagcelery.tracebacks import shortened

__all__ = ["DAG", "Node", "Task", "dependencies", "fan_source"]


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
            options=replace(options, lazy=options.lazy | lazy_parameters(func, inputs)),
            after=words("after", after),
            over=over,
        )
        rules.check_task(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Task) or not same(self.func, other.func):
            return False
        return {**self.__dict__, "func": None} == {**other.__dict__, "func": None}

    __hash__ = Frozen.__hash__


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
    _order: list[set[str]]

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
            rules.check_parts(self)
        except RecursionError as error:
            wrong = "nests lists or dicts of sources more deeply than Python can follow"
            raise InvalidDag(f"DAG {name!r}", wrong, "use fewer levels") from error
        self._become(_order=layers({n: dependencies(node) for n, node in self.nodes.items()}))
        rules.check_lists(self)

    def __repr__(self) -> str:
        names = ("nodes", "inputs", "outputs")
        parts = [f"{name} {', '.join(held)}" for name in names if (held := getattr(self, name))]
        rest = [
            each for each in constructor_arguments(self) if each.partition("=")[0] not in (*names, "name", "returns")
        ]
        return f"<{' '.join(filter(None, ('DAG', self.name)))}: {'; '.join([*parts, *rest])}>"

    @property
    def node_execution_order(self) -> list[set[str]]:
        """The names of the nodes in groups; each group needs only earlier ones, and may run at once."""
        return [set(layer) for layer in self._order]


Node: TypeAlias = Task | DAG
