"""`dagger.dag`: a DAG that keeps py-dagger's rules."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, TypeVar

from dagcelery import model
from dagcelery.compat.dagger import dag_rules, old_paths
from dagcelery.compat.dagger.data_structures import FrozenMapping
from dagcelery.compat.dagger.input import validate_and_clean_parameters
from dagcelery.compat.dagger.old_texts import CyclicDependencyError
from dagcelery.compat.dagger.serializer import DefaultSerializer
from dagcelery.model import DagOptions, FromNodeOutput, Node, Source, dependencies

SupportedInputs = Source
SupportedOutputs = FromNodeOutput

N = TypeVar("N")

__all__ = [
    "DAG",
    "CyclicDependencyError",
    "Node",
    "SupportedInputs",
    "SupportedOutputs",
    "topological_sort",
    "validate_parameters",
]

_UNCHANGED: Final = (
    "after it has been initialized. We do this to guarantee the structures you build with dagger remain valid and "
    "consistent."
)


class DAG(model.DAG):
    """Nodes that feed each other.

    Raises InvalidDag, which is a ValueError, or CyclicDependencyError.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        inputs: Mapping[str, Source] | None = None,
        outputs: Mapping[str, Source] | None = None,
        runtime_options: Mapping[str, Any] | None = None,
        partition_by_input: str | None = None,
        **new: Any,
    ) -> None:
        nodes = FrozenMapping(nodes, f"You may not mutate the nodes of a DAG {_UNCHANGED}")
        inputs = FrozenMapping(inputs or {}, f"You may not mutate the inputs of a DAG {_UNCHANGED}")
        dag_rules.check(nodes, inputs, outputs or {}, partition_by_input)
        topological_sort({name: dependencies(node) for name, node in nodes.items() if isinstance(node, Node)})
        written = {name: _as_written(source, nodes) for name, source in (outputs or {}).items()}
        new.setdefault("options", DagOptions(serializer=DefaultSerializer))
        super().__init__(nodes, inputs, written, runtime_options, partition_by_input, **new)
        frozen = FrozenMapping(self.outputs, f"You may not mutate the outputs of a DAG {_UNCHANGED}")
        self._become(nodes=nodes, inputs=inputs, outputs=frozen)

    def __eq__(self, other: object) -> bool:
        """Whether another DAG is the same, as far as py-dagger tells."""
        if not isinstance(other, model.DAG):
            return NotImplemented
        return _compared(self) == _compared(other)

    __hash__ = model.DAG.__hash__

    def __repr__(self) -> str:
        return (
            f"DAG(inputs={self.inputs}, outputs={self.outputs}, runtime_options={self.runtime_options}, "
            f"partition_by_input={self.partition_by_input}, nodes={self.nodes})"
        )


def _compared(dag: model.DAG) -> tuple[object, ...]:
    return dag.nodes, dag.inputs, dag.outputs, dag.runtime_options


def _as_written(source: Source, nodes: Mapping[str, Node]) -> Source:
    """Return what a DAG gives back with the serializer that wrote it; py-dagger does not ask there what it names."""
    if not isinstance(source, FromNodeOutput):
        return source
    return replace(source, serializer=getattr(nodes[source.node].outputs[source.output], "serializer", None))


def topological_sort(node_dependencies: Mapping[N, Iterable[N]]) -> list[set[N]]:
    """Return nodes in groups, of which each needs only earlier ones.

    Raises CyclicDependencyError.
    """
    sorter = TopologicalSorter(node_dependencies)
    with suppress(CycleError):  # it gives the others all the same
        sorter.prepare()
    groups: list[set[N]] = []
    while ready := sorter.get_ready():
        groups.append(set(ready))
        sorter.done(*ready)
    everything = set(node_dependencies).union(*node_dependencies.values())
    if rest := everything.difference(*groups):
        raise CyclicDependencyError(tuple(rest))  # type: ignore[arg-type]
    return groups


def validate_parameters(inputs: Mapping[str, Source], params: Mapping[str, Any]) -> None:
    """Refuse parameters if one is missing, and warn of those that are not necessary.

    Raises InvalidParameters, which is a ValueError.
    """
    validate_and_clean_parameters(inputs, params)
    if superfluous := sorted(params.keys() - inputs.keys()):
        told = f"The following parameters were supplied to this DAG, but are not necessary: {superfluous}"
        warnings.warn(told, stacklevel=2)


old_paths.register(__name__)
